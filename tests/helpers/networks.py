"""A network that reverses its input, and graphs of networks in ONNX Runtime."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch
from bundles import EOS_ID, LENGTH_PENALTY, VOCAB_SIZE, arrays_of, spec_of
from example_spaces import space_of, uneven_space
from onnx import ModelProto
from onnx_parts import open_model

from mosdeploy.export.onnx.builder import GraphOptions
from mosdeploy.families.translation.network import TranslationSubnet
from mosdeploy.families.translation.onnx_graph import build_graph
from mosdeploy.spaces.translation import TranslationSpace, TranslationWorkload
from mosdeploy.training.trainer import EagerAdam

PRECISIONS = TranslationWorkload.precisions
MAX_POSITIONS = 40


def small_space() -> TranslationSpace:
    return space_of(embed_dim=(24,), layers=(1,), ffn_dim=(48,), heads=(2,), qkv_dim=24, norm="pre")


def train_to_reverse() -> TranslationSubnet:
    """A subnet in the space of `small_space`, trained for a moment to reverse short rows of the ids
    4 to 11.
    """
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    num_steps = 160
    subnet = TranslationSubnet(small_space().largest, small_space(), VOCAB_SIZE).train()
    optimizer = EagerAdam(subnet.parameters(), fused=True)
    for step in range(1, num_steps + 1):
        tokens = torch.tensor(rng.integers(4, 12, (16, int(rng.integers(1, 6)))))
        begin = torch.full((16, 1), 2)
        end = torch.full((16, 1), EOS_ID)
        logits = subnet(torch.cat([tokens, end], 1), torch.cat([begin, tokens.flip(1)], 1))
        target = torch.cat([tokens.flip(1), end], 1)
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten()).backward()
        optimizer.param_groups[0]["lr"] = 6e-3 * min(1, step / 40) * (1 - step / num_steps)
        optimizer.step()
        optimizer.zero_grad()
    return subnet.eval()


@pytest.fixture(params=["pre", "post"])
def space(request: pytest.FixtureRequest) -> TranslationSpace:
    return uneven_space(request.param)


@pytest.fixture(scope="session")
def trained_subnet() -> TranslationSubnet:
    return train_to_reverse()


def build_subnet(
    subnet: TranslationSubnet,
    space: TranslationSpace,
    length_penalty: float = LENGTH_PENALTY,
    **workload: object,
) -> ModelProto:
    """The graph of a subnet that serves MAX_POSITIONS, at a beam and precision."""
    options = GraphOptions(max_positions=MAX_POSITIONS, length_penalty=length_penalty)
    return build_graph(spec_of(space, **workload), subnet.arch, arrays_of(subnet), options)


def open_subnet(
    subnet: TranslationSubnet,
    space: TranslationSpace,
    precision: str = "fp32",
    beam: int = 1,
    length_penalty: float = LENGTH_PENALTY,
) -> onnxruntime.InferenceSession:
    return open_model(
        build_subnet(subnet, space, length_penalty=length_penalty, precision=precision, beam=beam)
    )


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
