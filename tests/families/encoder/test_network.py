"""The plain network against a reading of the contract in numpy, one text at a time, without
padding.
"""

import math

import numpy as np
import pytest
import torch
from encoder_networks import HEADS, VOCAB_SIZE, shake, small_space, some_archs, texts
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mosdeploy.config.sections import SupernetConfig
from mosdeploy.errors import ArchError
from mosdeploy.families.encoder.network import EncoderSubnet, mean_vector
from mosdeploy.spaces.encoder import VECTOR_HEADS, EncoderArch, EncoderSpace, EncoderWorkload
from mosdeploy.spaces.spec import ModelSpec

SPACES = [
    *({"head": head} for head in HEADS),
    {"head": "masked-lm", "table_dim": 6, "activation": "gelu_tanh"},
    {"num_types": 0, "activation": "relu"},
    {"num_types": 1, "table_dim": 6},
    {"head_dim": None},  # heads share the width
    {"ffn_ratio": (0.5, 1.5, 2), "ffn_dim": (), "head_dim": None},
    {"embed_dim": (12,), "layer_dim": (4, 8, 12), "head_dim": None},
]


def shaken(arch: EncoderArch, space: EncoderSpace) -> EncoderSubnet:
    torch.manual_seed(3)
    subnet = EncoderSubnet(arch, space, VOCAB_SIZE)
    shake(subnet, 0.3)
    return subnet.eval()


class Reference:
    """The answer to one text without padding, in float64."""

    def __init__(self, subnet: EncoderSubnet, space: EncoderSpace) -> None:
        self.arch = subnet.arch
        self.space = space
        self.weights = {name: x.double().numpy() for name, x in subnet.state_dict().items()}

    def answer(self, ids: np.ndarray, types: np.ndarray) -> np.ndarray:
        x = self.weights["embed.weight"][ids] + self.weights["positions.weight"][: len(ids)]
        if self.space.num_types:
            x = x + self.weights["types.weight"][types]
        x = self.norm("embed_norm", x)
        if self.space.table_dim:
            x = self.linear("embed_project", x)
        for i, layer in enumerate(self.arch.layers):
            name = f"layers.{i}"
            if layer.dim:
                x = self.linear(f"{name}.narrow", x)
            x = self.norm(f"{name}.self_attn_norm", x + self.attend(name, x, layer.heads))
            hidden = self.activate(self.linear(f"{name}.fc1", x))
            x = self.norm(f"{name}.ffn_norm", x + self.linear(f"{name}.fc2", hidden))
            if layer.dim:
                x = self.linear(f"{name}.widen", x)
        return self.head(x)

    def head(self, x: np.ndarray) -> np.ndarray:
        if self.space.head == "pooled":
            return self.linear("head.out", np.tanh(self.linear("head.dense", x[0])))
        if self.space.head == "tokens":
            return self.linear("head.out", x)
        if self.space.head in VECTOR_HEADS:
            vector = x.mean(0) if self.space.head == "vector" else x[0]
            return vector / np.sqrt((vector**2).sum())
        x = self.norm("head.norm", self.activate(self.linear("head.dense", x)))
        return x @ self.weights["embed.weight"].T + self.weights["head.bias"]

    def attend(self, name: str, x: np.ndarray, heads: int) -> np.ndarray:
        q, k, v = (self.linear(f"{name}.self_attn.{kind}", x) for kind in "qkv")
        width = q.shape[-1] // heads
        mixed = []
        for h in range(heads):
            own = slice(h * width, (h + 1) * width)
            scores = np.exp(q[:, own] @ k[:, own].T / math.sqrt(width))
            mixed.append(scores / scores.sum(1, keepdims=True) @ v[:, own])
        return self.linear(f"{name}.self_attn.out", np.concatenate(mixed, axis=1))

    def activate(self, x: np.ndarray) -> np.ndarray:
        if self.space.activation == "relu":
            return np.maximum(x, 0)
        if self.space.activation == "gelu_tanh":
            return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + self.space.norm_epsilon)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


@pytest.mark.parametrize("changes", SPACES, ids=str)
def test_padded_texts_are_answered_as_the_reference_does(changes: dict[str, object]) -> None:
    space = small_space(**changes)
    ids, mask, types = texts()
    if space.num_types == 1:
        types = torch.zeros_like(types)
    for arch in some_archs(space, 2):
        subnet = shaken(arch, space)
        reference = Reference(subnet, space)
        with torch.no_grad():
            answers = subnet(ids, mask, types).numpy()
        for answer, text, kinds, real in zip(answers, ids, types, mask, strict=True):
            length = int(real.sum())
            expected = reference.answer(text[:length].numpy(), kinds[:length].numpy())
            got = answer[:length] if space.head in ("tokens", "masked-lm") else answer
            np.testing.assert_allclose(got, expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("head", HEADS)
def test_a_batch_of_eight_is_eight_single_texts(head: str) -> None:
    space = small_space(head=head)
    ids, mask, types = texts((9, 1, 4, 4, 7, 2, 8, 3))
    subnet = shaken(space.largest, space)
    with torch.no_grad():
        together = subnet(ids, mask, types)
        for i, length in enumerate(mask.sum(1).tolist()):
            row = slice(i, i + 1)
            alone = subnet(ids[row, :length], mask[row, :length], types[row, :length])[0]
            own = together[i, :length] if head in ("tokens", "masked-lm") else together[i]
            torch.testing.assert_close(own, alone, atol=1e-5, rtol=1e-5)


def test_only_hidden_pieces_are_guessed() -> None:
    space = small_space(head="masked-lm")
    subnet = shaken(space.largest, space)
    inputs = texts((9, 4, 7))
    places = torch.tensor([0, 5, 9, 20])  # of three rows of nine
    with torch.no_grad():
        everywhere = subnet(*inputs).flatten(0, 1)
        torch.testing.assert_close(subnet(*inputs, places), everywhere[places])


@pytest.mark.parametrize("changes", SPACES, ids=str)
def test_parameters_and_macs_are_those_of_the_inventory(changes: dict[str, object]) -> None:
    space = small_space(**changes)
    workload = EncoderWorkload(input_len=7, batch=2)
    spec = ModelSpec(space, VOCAB_SIZE, workload)
    ids = torch.zeros(workload.batch, workload.input_len, dtype=torch.int64)
    for arch in some_archs(space):
        subnet = EncoderSubnet(arch, space, VOCAB_SIZE).eval()
        assert sum(x.numel() for x in subnet.parameters()) == spec.num_parameters(arch)
        # the counter knows products of matrices, but not the fused attention of a CPU
        with (
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
        ):
            subnet(ids, torch.ones_like(ids), ids)
        assert counter.get_total_flops() == 2 * spec.num_macs(arch)


def test_recomputing_in_the_backward_pass_changes_no_gradient() -> None:
    space = small_space()
    subnet = shaken(space.largest, space)
    gradients = []
    for again in (False, True):
        subnet.zero_grad()
        subnet(*texts(), activation_checkpointing=again).square().sum().backward()
        gradients.append([x.grad.clone() for x in subnet.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_a_narrower_network_drops_out_its_share() -> None:
    space = small_space()
    config = SupernetConfig(dropout=0.3, attention_dropout=0.2)
    subnet = EncoderSubnet(space.smallest, space, VOCAB_SIZE, config)
    rates = {round(x.p, 6) for x in subnet.modules() if isinstance(x, torch.nn.Dropout)}
    assert rates == {0.2}  # 0.3 * 8 / 12
    assert subnet.layers[0].self_attn.dropout == 0.2
    torch.manual_seed(0)
    assert not torch.equal(subnet(*texts()), subnet(*texts()))


def test_mean_vector_by_hand() -> None:
    x = torch.tensor([[[1.0, 0.0], [5.0, 8.0], [9.0, 9.0]]])
    mean = mean_vector(x, torch.tensor([[1, 1, 0]]))  # (3, 4), of length 5
    torch.testing.assert_close(mean, torch.tensor([[0.6, 0.8]]))


def test_hidden_states_end_in_what_the_head_reads() -> None:
    space = small_space(head="vector")
    subnet = shaken(space.largest, space)
    ids, mask, types = texts()
    states = list(subnet.hidden_states(ids, mask, types))
    assert [tuple(x.shape) for x in states] == [(3, 6, 12)] * 4
    assert torch.equal(mean_vector(states[-1], mask), subnet(ids, mask, types))


def test_first_logits_of_a_fresh_output_layer_are_small() -> None:
    space = small_space(embed_dim=(256,), num_outputs=200)
    weight = EncoderSubnet(space.largest, space, VOCAB_SIZE).head.out.weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.02)


def test_an_architecture_outside_the_space_is_refused() -> None:
    space = small_space()
    wrong = space.largest.model_copy(update={"embed_dim": 9})
    with pytest.raises(ArchError, match=r"embed_dim is 9, allowed: \[8, 12\]"):
        EncoderSubnet(wrong, space, VOCAB_SIZE)
