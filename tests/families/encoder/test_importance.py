from dataclasses import dataclass
from typing import Self

import pytest
import torch
from encoder_networks import VOCAB_SIZE, shake, small_space, some_archs, texts
from torch import Tensor
from torch.nn import functional as F

from mosdeploy.config.sections import SupernetConfig
from mosdeploy.families.encoder.elastic import sliced_subnet
from mosdeploy.families.encoder.importance import Importance, measure_importance, reorder
from mosdeploy.families.encoder.network import EncoderSubnet


@dataclass(frozen=True)
class Labelled:
    """Texts with classes."""

    lengths: tuple[int, ...]
    labels: Tensor

    num_targets = 1

    def to(self, device: torch.device) -> Self:
        return self

    def inputs(self) -> tuple[Tensor, ...]:
        return texts(self.lengths)

    def loss(self, logits: Tensor, label_smoothing: float = 0.0) -> Tensor:
        return F.cross_entropy(logits, self.labels, reduction="sum")

    def losses(self, logits: Tensor) -> Tensor:
        return F.cross_entropy(logits, self.labels, reduction="none").double()


BATCHES = [Labelled((6, 2, 5), torch.tensor([0, 2, 1])), Labelled((3, 9), torch.tensor([1, 1]))]


@pytest.fixture
def net() -> EncoderSubnet:
    space = small_space()
    torch.manual_seed(2)
    net = EncoderSubnet(space.largest, space, VOCAB_SIZE, SupernetConfig(dropout=0.5))
    shake(net, 0.3)
    return net


def with_weights(net: EncoderSubnet, weights: dict[str, Tensor]) -> EncoderSubnet:
    other = EncoderSubnet(net.arch, small_space(), VOCAB_SIZE).eval()
    other.load_state_dict(weights)
    return other


def test_the_reordered_network_computes_the_same(net: EncoderSubnet) -> None:
    weights = net.state_dict()
    before = {name: x.clone() for name, x in weights.items()}
    importance = measure_importance(net, BATCHES)
    ordered = reorder(weights, importance)
    assert all(torch.equal(weights[name], x) for name, x in before.items())
    assert not torch.equal(
        ordered["layers.0.self_attn.q.weight"], weights["layers.0.self_attn.q.weight"]
    )
    assert not torch.equal(ordered["layers.2.fc1.weight"], weights["layers.2.fc1.weight"])
    with torch.no_grad():
        torch.testing.assert_close(
            with_weights(net, ordered)(*texts()), net.eval()(*texts()), atol=1e-5, rtol=1e-5
        )
    again = measure_importance(with_weights(net, ordered), BATCHES)
    for own, expected in ((again.heads, importance.heads), (again.neurons, importance.neurons)):
        torch.testing.assert_close(own, expected.sort(descending=True).values, rtol=1e-4, atol=0)


def test_importance_is_the_change_of_the_loss(net: EncoderSubnet) -> None:
    """Against differences of the loss when a head or a neuron is scaled, in float64."""
    net = net.double().eval()
    importance = measure_importance(net, BATCHES)
    step = 1e-5
    heads = torch.zeros(3, 4, dtype=torch.float64)
    neurons = torch.zeros(3, 16, dtype=torch.float64)
    for batch in BATCHES:
        for i in range(3):
            out = f"layers.{i}.self_attn.out.weight"
            for h in range(4):
                columns = (out, (slice(None), slice(4 * h, 4 * h + 4)))
                heads[i, h] += slope(net, batch, [columns], step).abs()
            for n in range(16):
                rows = [(f"layers.{i}.fc1.weight", (n,)), (f"layers.{i}.fc1.bias", (n,))]
                column = (f"layers.{i}.fc2.weight", (slice(None), n))
                neurons[i, n] += slope(net, batch, rows, step).abs()
                neurons[i, n] += slope(net, batch, [column], step).abs()
    torch.testing.assert_close(importance.heads, heads, rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(importance.neurons, neurons, rtol=1e-4, atol=1e-8)


def slope(net: EncoderSubnet, batch: Labelled, parts: list[object], step: float) -> Tensor:
    """Of the loss, when these parts of the weights are scaled."""
    losses = []
    for factor in (1 + step, 1 - step):
        weights = {name: x.clone() for name, x in net.state_dict().items()}
        for name, index in parts:
            weights[name][index] *= factor
        with torch.no_grad():
            logits = torch.func.functional_call(net, weights, batch.inputs())
            losses.append(batch.loss(logits))
    return (losses[0] - losses[1]) / (2 * step)


def test_a_slice_keeps_the_most_important(net: EncoderSubnet) -> None:
    """In an order worked out by hand."""
    heads = torch.tensor([[1.0, 4.0, 2.0, 3.0]] * 3)
    neurons = torch.arange(16.0).repeat(3, 1)
    weights = net.state_dict()
    ordered = reorder(weights, Importance(heads, neurons))
    arch = some_archs(small_space(), 0)[1]  # one head, FFN 5, width 8
    sliced = sliced_subnet(arch, small_space(), VOCAB_SIZE, SupernetConfig(), ordered).state_dict()
    query = weights["layers.0.self_attn.q.weight"]
    assert torch.equal(sliced["layers.0.self_attn.q.weight"], query[4:8, :8])  # head 1
    expected = weights["layers.0.fc1.bias"][[15, 14, 13, 12, 11]]
    assert torch.equal(sliced["layers.0.fc1.bias"], expected)
    expected = weights["layers.0.fc2.weight"][:8, [15, 14, 13, 12, 11]]
    assert torch.equal(sliced["layers.0.fc2.weight"], expected)


def test_equal_importance_keeps_the_order(net: EncoderSubnet) -> None:
    weights = net.state_dict()
    ordered = reorder(weights, Importance(torch.ones(3, 4), torch.ones(3, 16)))
    assert all(torch.equal(ordered[name], x) for name, x in weights.items())


def test_a_network_is_left_as_it_was(net: EncoderSubnet) -> None:
    net.train()
    first = measure_importance(net, BATCHES)
    assert net.training
    assert all(x.grad is None for x in net.parameters())
    second = measure_importance(net, BATCHES)  # its dropout is not at work
    assert torch.equal(first.heads, second.heads)
    assert torch.equal(first.neurons, second.neurons)
