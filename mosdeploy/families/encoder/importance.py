"""Which heads and neurons of a network matter most, and the same network with those first."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...data.batches import Batch
from ...supernet.elastic import StateDict
from .network import EncoderSubnet

CONTRAST_TEMPERATURE = 0.05
"""Divides similarities of vectors, which lie between -1 and 1."""


@dataclass(frozen=True)
class Importance:
    """How much the loss depends on each part of each layer."""

    heads: Tensor
    neurons: Tensor


@dataclass(frozen=True)
class ContrastBatch:
    """A batch of texts without labels, whose loss is how badly their vectors are told apart."""

    batch: Batch

    @property
    def num_targets(self) -> int:
        """Texts."""
        return self.batch.num_targets

    def to(self, device: torch.device) -> "ContrastBatch":
        """Copy to a device."""
        return ContrastBatch(self.batch.to(device))

    def inputs(self) -> tuple[Tensor, ...]:
        """Those of the batch."""
        return self.batch.inputs()

    def loss(self, logits: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """From normalised vectors (B, d), as a scalar."""
        return self._of_each(logits, label_smoothing).sum()

    def losses(self, logits: Tensor) -> Tensor:
        """Of each text, (B,) float64."""
        return self._of_each(logits, 0.0).double()

    def _of_each(self, vectors: Tensor, label_smoothing: float) -> Tensor:
        similarities = vectors.float() @ vectors.float().T / CONTRAST_TEMPERATURE  # (B, B)
        own = torch.arange(len(vectors), device=vectors.device)
        return F.cross_entropy(similarities, own, label_smoothing=label_smoothing, reduction="none")


def measure_importance(net: EncoderSubnet, batches: Iterable[Batch]) -> Importance:
    """Sum over batches of the size of the loss's first-order change when a head or a neuron
    goes.
    """
    parameters = {name: x for name, x in net.named_parameters() if name.startswith("layers.")}
    device = next(iter(parameters.values())).device
    layers = net.arch.layers
    heads = torch.zeros(len(layers), layers[0].heads, dtype=torch.float64, device=device)
    neurons = torch.zeros(len(layers), layers[0].ffn_dim, dtype=torch.float64, device=device)
    was_training = net.training
    net.eval()
    for batch in batches:
        own = batch.to(device)
        loss = own.loss(net(*own.inputs()))
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        change = {
            name: weight.detach().double() * gradient
            for (name, weight), gradient in zip(parameters.items(), gradients, strict=True)
        }
        for i in range(len(layers)):
            # m acts like a factor on the head's columns of the output map
            by_column = change[f"layers.{i}.self_attn.out.weight"].sum(0)  # (H * head width,)
            heads[i] += by_column.view(layers[i].heads, -1).sum(1).abs()
            rows = change[f"layers.{i}.fc1.weight"].sum(1) + change[f"layers.{i}.fc1.bias"]  # (F,)
            neurons[i] += rows.abs() + change[f"layers.{i}.fc2.weight"].sum(0).abs()
    net.train(was_training)
    return Importance(heads.cpu(), neurons.cpu())


def reorder(weights: StateDict, importance: Importance) -> StateDict:
    """The same network with the heads and neurons of each layer by decreasing importance; equal
    ones keep their order.
    """
    result = dict(weights)
    for i in range(len(importance.heads)):
        attention = f"layers.{i}.self_attn"
        heads = _descending(importance.heads[i])  # (H,)
        width = len(weights[f"{attention}.q.weight"]) // len(heads)
        # the rows of a head stay together
        rows = (heads[:, None] * width + torch.arange(width)).flatten()  # (H * head width,)
        for name in ("q", "k", "v"):
            for kind in ("weight", "bias"):
                full_name = f"{attention}.{name}.{kind}"
                result[full_name] = weights[full_name][rows]
        result[f"{attention}.out.weight"] = weights[f"{attention}.out.weight"][:, rows]
        neurons = _descending(importance.neurons[i])  # (F,)
        for full_name in (f"layers.{i}.fc1.weight", f"layers.{i}.fc1.bias"):
            result[full_name] = weights[full_name][neurons]
        result[f"layers.{i}.fc2.weight"] = weights[f"layers.{i}.fc2.weight"][:, neurons]
    return result


def _descending(values: Tensor) -> Tensor:
    return values.argsort(descending=True, stable=True)
