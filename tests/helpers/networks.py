"""Networks whose translations change from step to step, and their graphs in ONNX Runtime."""

from collections.abc import Sequence
from typing import get_args

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from example_spaces import space_of
from onnx import ModelProto

from mosdeploy.families.translation.network import Subnet
from mosdeploy.families.translation.onnx_graph import build_graph, state_arrays
from mosdeploy.spaces.spec import Precision
from mosdeploy.spaces.translation import TranslationArch, TranslationSpace

PRECISIONS = get_args(Precision)
VOCAB_SIZE = 60
EOS_ID = 3
MAX_POSITIONS = 40


def make_space(norm: str) -> TranslationSpace:
    """Unequal widths, heads of width 8, 12 and 24, spans up to the depth."""
    return space_of(
        embed_dim=(20, 28),
        layers=(1, 2),
        ffn_dim=(24, 40),
        heads=(1, 2, 3),
        qkv_dim=24,
        encoder_embed_dim=(20, 32),
        encoder_layers=(1, 2, 3),
        cross_span=(1, 2, 3),
        norm=norm,
    )


def lively_subnet(arch: TranslationArch, space: TranslationSpace, seed: int) -> Subnet:
    """A subnet that does not repeat one token, as fresh ones do, and ends some sentences early.

    Norms of random sign break the tie of input and output embedding; sharp attention makes
    positions count.
    """
    generator = torch.Generator().manual_seed(seed)
    subnet = Subnet(arch, space, VOCAB_SIZE).eval()
    with torch.no_grad():
        for name, weight in subnet.named_parameters():
            scale = (
                1.0
                if "norm.weight" in name
                else 0.1
                if weight.dim() == 1
                else weight.shape[1] ** -0.5
            )
            scale *= (
                3.0 if name.endswith(("q.weight", "k.weight")) else 1.5 if "fc" in name else 1.0
            )
            weight.copy_(scale * torch.randn(weight.shape, generator=generator))
        subnet.embed.weight[EOS_ID] *= 1.8
    return subnet


def small_space() -> TranslationSpace:
    return space_of(embed_dim=(24,), layers=(1,), ffn_dim=(48,), heads=(2,), qkv_dim=24, norm="pre")


def train_to_reverse() -> Subnet:
    """A subnet in the space of `small_space`, trained for a moment to reverse short rows of the ids
    4 to 11.

    Adam by hand: `torch.optim` takes seconds to import.
    """
    torch.manual_seed(0)
    rng, updates = np.random.default_rng(0), 160
    subnet = Subnet(small_space().largest, small_space(), VOCAB_SIZE).train()
    moments = [
        (weight, torch.zeros_like(weight), torch.zeros_like(weight))
        for weight in subnet.parameters()
    ]
    for update in range(1, updates + 1):
        pieces = torch.tensor(rng.integers(4, 12, (16, int(rng.integers(1, 6)))))
        begin, end = torch.full((16, 1), 2), torch.full((16, 1), EOS_ID)
        logits = subnet(torch.cat([pieces, end], 1), torch.cat([begin, pieces.flip(1)], 1))
        target = torch.cat([pieces.flip(1), end], 1)
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten()).backward()
        rate = 6e-3 * min(1, update / 40) * (1 - update / updates) * (1 - 0.999**update) ** 0.5
        for weight, mean, square in moments:
            mean.lerp_(weight.grad, 0.1)
            square.lerp_(weight.grad**2, 0.001)
            weight.data.addcdiv_(mean, square.sqrt() + 1e-8, value=-rate)
            weight.grad = None
    return subnet.eval()


def random_sources(lengths: Sequence[int], seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(4, VOCAB_SIZE, length).tolist() for length in lengths]


def open_model(model: ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def open_subnet(
    subnet: Subnet,
    space: TranslationSpace,
    precision: str = "fp32",
    beam: int = 1,
    length_penalty: float = 0.6,
) -> onnxruntime.InferenceSession:
    model = build_graph(
        subnet.arch,
        space,
        VOCAB_SIZE,
        state_arrays(subnet.state_dict()),
        beam=beam,
        length_penalty=length_penalty,
        precision=precision,
        max_positions=MAX_POSITIONS,
    )
    return open_model(model)


def run(
    session: onnxruntime.InferenceSession,
    sources: Sequence[Sequence[int]],
    max_steps: int,
    min_steps: int = 0,
) -> npt.NDArray[np.int64]:
    """Raw output ids of a padded batch."""
    batch = np.zeros((len(sources), max(map(len, sources)) + 1), np.int64)
    for row, ids in zip(batch, sources, strict=True):
        row[: len(ids) + 1] = [*ids, EOS_ID]
    feed = {"source_ids": batch, "max_steps": np.array(max_steps), "min_steps": np.array(min_steps)}
    output: npt.NDArray[np.int64] = session.run(["output_ids"], feed)[0]
    return output


def until_end(row: Sequence[int]) -> list[int]:
    ids = list(map(int, row))
    return ids[: ids.index(EOS_ID)] if EOS_ID in ids else ids
