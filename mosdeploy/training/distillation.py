"""Learning from another network's distributions, beside the targets.

In: a teacher, and the logits of a batch. Out: the loss. What the teacher is, is not known here.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from ..data.protocols import Batch, TeachableBatch
from ..supernet.elastic import Subnet


@dataclass(frozen=True)
class Distillation:
    """A teacher, and for how much of the loss it counts.

    For translation this is the word-level distillation of Kim & Rush (EMNLP 2016): at each target
    the network learns the whole distribution that the teacher has there.

    Attributes
    ----------
    teacher
        A network with the same targets and the same ids; it is not trained.
    weight
        Share of the divergence in the loss, above 0 and at most 1; the rest is the usual loss.
    """

    teacher: Subnet
    weight: float

    @torch.no_grad()
    def logits(self, batch: Batch) -> Tensor:
        """What the teacher says of a batch, on whose device it is put; without dropout."""
        inputs = batch.inputs()
        logits: Tensor = self.teacher.to(inputs[0].device).eval()(*inputs)
        return logits

    def loss(
        self, batch: Batch, logits: Tensor, teacher_logits: Tensor, label_smoothing: float
    ) -> Tensor:
        """Both losses, mixed: a sum over all targets, in nats."""
        taught = cast(TeachableBatch, batch).divergence(logits, teacher_logits)
        usual = batch.loss(logits, label_smoothing)
        return self.weight * taught + (1 - self.weight) * usual
