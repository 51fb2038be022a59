"""Learning from another network, beside the targets, in the training of one subnet alone."""

from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

from ..data.batches import Batch, TeachableBatch
from ..supernet.elastic import Subnet


class Distillation(Protocol):
    """A teacher, and what is learned from it."""

    def outputs(
        self, net: Subnet, batch: Batch, activation_checkpointing: bool
    ) -> tuple[Tensor, ...]:
        """What the loss is computed from: the network's logits, then whatever else it and the
        teacher say of a batch.
        """

    def loss(self, batch: Batch, outputs: tuple[Tensor, ...], label_smoothing: float) -> Tensor:
        """A sum over all targets, in nats, of these outputs."""


@dataclass(frozen=True)
class OutputDistillation:
    """The distributions of a teacher, and for how much of the loss they count."""

    teacher: Subnet
    weight: float

    def outputs(
        self, net: Subnet, batch: Batch, activation_checkpointing: bool
    ) -> tuple[Tensor, ...]:
        """Logits of the network and of the teacher."""
        logits = net(*batch.inputs(), activation_checkpointing=activation_checkpointing)
        return logits, self._teacher_logits(batch)

    @torch.no_grad()
    def _teacher_logits(self, batch: Batch) -> Tensor:
        inputs = batch.inputs()
        logits: Tensor = self.teacher.to(inputs[0].device).eval()(*inputs)
        return logits

    def loss(self, batch: Batch, outputs: tuple[Tensor, ...], label_smoothing: float) -> Tensor:
        """Both losses, mixed."""
        logits, teacher_logits = outputs
        taught = cast(TeachableBatch, batch).divergence(logits, teacher_logits)
        usual = batch.loss(logits, label_smoothing)
        return self.weight * taught + (1 - self.weight) * usual
