"""The plain network against a reading of the contract in numpy, one sentence at a time, without
padding or cache.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from supernet_fixtures import archs, prev, space, src  # noqa: F401
from torch import Tensor

from mosdeploy.config.sections import SupernetConfig
from mosdeploy.families.translation.elastic import fresh_subnet, fresh_supernet
from mosdeploy.families.translation.network import TranslationSubnet
from mosdeploy.spaces.spec import ModelSpec
from mosdeploy.spaces.translation import TranslationArch, TranslationSpace, TranslationWorkload
from mosdeploy.supernet.supernet import extract

VOCAB_SIZE = 20


def shaken(
    arch: TranslationArch, space: TranslationSpace, config: SupernetConfig | None = None
) -> TranslationSubnet:
    """A subnet whose biases and norms are not at their neutral values either."""
    torch.manual_seed(3)
    subnet = TranslationSubnet(arch, space, VOCAB_SIZE, config)
    with torch.no_grad():
        for name, parameter in subnet.named_parameters():
            if name.endswith("bias") or "norm" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return subnet.eval()


class Reference:
    """Logits of one unpadded sentence pair, in float64."""

    def __init__(self, subnet: TranslationSubnet, space: TranslationSpace) -> None:
        self.arch = subnet.arch
        self.space = space
        self.weights = {
            name: tensor.double().numpy() for name, tensor in subnet.state_dict().items()
        }

    def logits(self, src: np.ndarray, prev: np.ndarray) -> np.ndarray:
        e = self.arch.encoder_embed_dim
        d = self.arch.decoder_embed_dim
        pre = self.space.norm == "pre"
        x = self.embed(src, e)
        outputs = []
        for i, layer in enumerate(self.arch.encoder_layers):
            name = f"encoder.layers.{i}"
            x = self.residual(
                f"{name}.self_attn_norm",
                x,
                lambda y, n=name, h=layer.heads: self.attend(n, y, y, h),
            )
            x = self.residual(f"{name}.ffn_norm", x, lambda y, n=name: self.ffn(n, y))
            outputs.append(self.norm("encoder.norm", x) if pre else x)
        x = self.embed(prev, d)
        for i, target in enumerate(self.arch.decoder_layers):
            name = f"decoder.layers.{i}"
            memory = np.concatenate(outputs[-target.cross_span :])
            x = self.residual(
                f"{name}.self_attn_norm",
                x,
                lambda y, n=name, h=target.self_heads: np.stack(
                    [self.attend(n, y[t : t + 1], y[: t + 1], h)[0] for t in range(len(y))]
                ),
            )
            x = self.residual(
                f"{name}.cross_attn_norm",
                x,
                lambda y, n=name, m=memory, h=target.cross_heads: self.attend(
                    n, y, m, h, "cross_attn"
                ),
            )
            x = self.residual(f"{name}.ffn_norm", x, lambda y, n=name: self.ffn(n, y))
        return (self.norm("decoder.norm", x) if pre else x) @ self.weights["embed.weight"][:, :d].T

    def embed(self, ids: np.ndarray, width: int) -> np.ndarray:
        dim = max(*self.space.encoder_embed_dim, *self.space.decoder_embed_dim)
        x = self.weights["embed.weight"][ids, :width] * math.sqrt(width)
        for p in range(len(ids)):
            for column in range(width):
                angle = p * math.exp(-(column - column % 2) * math.log(10_000) / dim)
                x[p, column] += math.cos(angle) if column % 2 else math.sin(angle)
        return x

    def residual(
        self, norm: str, x: np.ndarray, block: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        return (
            x + block(self.norm(norm, x))
            if self.space.norm == "pre"
            else self.norm(norm, x + block(x))
        )

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def affine(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def ffn(self, name: str, x: np.ndarray) -> np.ndarray:
        return self.affine(f"{name}.fc2", np.maximum(self.affine(f"{name}.fc1", x), 0))

    def attend(
        self, layer: str, x: np.ndarray, memory: np.ndarray, heads: int, kind: str = "self_attn"
    ) -> np.ndarray:
        q, k, v = (
            self.affine(f"{layer}.{kind}.{m}", y)
            for m, y in (("q", x), ("k", memory), ("v", memory))
        )
        parts = []
        for qh, kh, vh in zip(*(np.split(y, heads, axis=1) for y in (q, k, v)), strict=True):
            scores = np.exp(qh @ kh.T / math.sqrt(qh.shape[1]))
            parts.append(scores / scores.sum(1, keepdims=True) @ vh)
        return self.affine(f"{layer}.{kind}.out", np.concatenate(parts, axis=1))


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_padded_batch_computes_what_the_contract_says(
    space: TranslationSpace, archs: list[TranslationArch], src: Tensor, prev: Tensor, norm: str
) -> None:
    space = space.model_copy(update={"norm": norm})
    for arch in archs:
        subnet = shaken(arch, space)
        with torch.no_grad():
            logits = subnet(src, prev).numpy()
        reference = Reference(subnet, space)
        for row in range(len(src)):
            real = src[row][src[row] != 0].numpy()
            np.testing.assert_allclose(
                logits[row], reference.logits(real, prev[row].numpy()), atol=2e-5
            )


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_network_has_as_many_weights_as_its_spec_counts(
    space: TranslationSpace, archs: list[TranslationArch], norm: str
) -> None:
    space = space.model_copy(update={"norm": norm})
    spec = ModelSpec(space, VOCAB_SIZE, TranslationWorkload())
    for arch in archs:
        weights = TranslationSubnet(arch, space, VOCAB_SIZE).state_dict().values()
        assert sum(x.numel() for x in weights) == spec.num_parameters(arch)


def test_steps_equal_the_full_forward(
    space: TranslationSpace, archs: list[TranslationArch], src: Tensor, prev: Tensor
) -> None:
    for arch in archs:
        subnet = shaken(arch, space)
        with torch.no_grad():
            whole = subnet(src, prev)
            state = subnet.start(subnet.encode(src))
            for t in range(prev.shape[1]):
                logits, state = subnet.step(prev[:, t : t + 1], state)
                torch.testing.assert_close(logits, whole[:, t], atol=1e-5, rtol=1e-5)


def test_a_reordered_state_continues_the_picked_hypotheses(
    space: TranslationSpace, src: Tensor, prev: Tensor
) -> None:
    subnet = shaken(space.largest, space)
    index = torch.tensor([2, 2, 0, 1])
    with torch.no_grad():
        state = subnet.start(subnet.encode(src))
        for t in range(3):
            _, state = subnet.step(prev[:, t : t + 1], state)
        state = state.reorder(index)
        next_token = torch.tensor([[5], [6], [7], [8]])
        logits, _ = subnet.step(next_token, state)
        whole = subnet(src[index], torch.cat((prev[index, :3], next_token), dim=1))
    torch.testing.assert_close(logits, whole[:, -1], atol=1e-5, rtol=1e-5)


def test_dropout_is_the_share_of_the_width_and_rests_in_eval(
    space: TranslationSpace, src: Tensor, prev: Tensor
) -> None:
    config = SupernetConfig(dropout=0.4)
    largest = shaken(space.largest, space, config)
    smallest = shaken(space.smallest, space, config)
    assert [largest.source_dropout, largest.target_dropout] == pytest.approx([0.4, 0.4])
    assert [smallest.source_dropout, smallest.target_dropout] == pytest.approx(
        [0.4 * 8 / 12, 0.4 * 6 / 10]
    )
    rates = {m.p for m in smallest.modules() if isinstance(m, torch.nn.Dropout)}
    assert rates == {smallest.source_dropout, smallest.target_dropout}
    assert torch.equal(largest(src, prev), largest(src, prev))
    largest.train()
    assert not torch.equal(largest(src, prev), largest(src, prev))


def test_a_fresh_subnet_starts_as_stated(space: TranslationSpace) -> None:
    torch.manual_seed(0)
    subnet = TranslationSubnet(space.smallest, space, 4000)
    assert subnet.embed.weight[0].abs().sum() == 0
    assert subnet.embed.weight[1:].std().item() == pytest.approx(
        12**-0.5, rel=0.02
    )  # of the largest width
    weights = subnet.state_dict()
    assert all(not weight.any() for name, weight in weights.items() if name.endswith("bias"))
    bound = math.sqrt(6 / (5 + 8))
    assert 0.8 * bound < weights["encoder.layers.0.fc1.weight"].abs().max() <= bound


@pytest.mark.parametrize(("norm", "is_near"), [("pre", True), ("post", False)])
@pytest.mark.parametrize("routing", ["none", "neuron"])
def test_a_pre_norm_encoder_starts_near_its_embeddings(
    space: TranslationSpace, src: Tensor, routing: str, norm: str, is_near: bool
) -> None:
    """Alone, and as inherited from a fresh supernet."""
    space = space.model_copy(update={"norm": norm})
    config = SupernetConfig(routing=routing, num_experts=2, dropout=0.0)  # type: ignore[arg-type]
    arch = space.largest
    alone = fresh_subnet(arch, space, VOCAB_SIZE, config, seed=1)
    for subnet in (alone, extract(fresh_supernet(space, VOCAB_SIZE, config, seed=1), arch)):
        subnet.eval()
        with torch.no_grad():
            embedded = subnet._embed(src, arch.encoder_embed_dim, 0)
            output = subnet.encode(src).outputs[-1]
        expected = torch.nn.functional.layer_norm(embedded, embedded.shape[-1:])
        near = torch.nn.functional.cosine_similarity(output, expected, dim=-1)[src != 0]
        assert bool((near > 0.97).all()) == is_near, near
