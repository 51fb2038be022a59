"""One padded batch of texts, and how outputs for it are judged."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ...config.encoder import TaskKind
from ...data.cross_entropy import cross_entropy

NO_TARGET = -100
"""Label of a position that is not judged."""


@dataclass(frozen=True)
class Objective:
    """What is judged, and how much labels count beside a teacher's outputs."""

    kind: TaskKind
    label_weight: float = 0.1
    temperature: float = 1.0
    spread: float = 1.0


@dataclass(frozen=True)
class EncoderBatch:
    """One padded batch."""

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor
    labels: Tensor | None
    teacher: Tensor | None
    num_targets: int
    objective: Objective

    def to(self, device: torch.device) -> "EncoderBatch":
        """Copy to a device; to a GPU by way of pinned memory, without waiting."""
        if device.type == "cpu":
            return self
        names = ("input_ids", "attention_mask", "token_type_ids", "labels", "teacher")
        parts = {name: getattr(self, name) for name in names}
        moved = {
            name: part.pin_memory().to(device, non_blocking=True)
            for name, part in parts.items()
            if part is not None
        }
        return replace(self, **moved)

    def inputs(self) -> tuple[Tensor, ...]:
        """Ids, attention mask and token types, each (B, S); of hidden pieces, their places too, as
        a network need not guess the others.
        """
        inputs = (self.input_ids, self.attention_mask, self.token_type_ids)
        return inputs if self.hidden is None else (*inputs, self.hidden)

    @property
    def hidden(self) -> Tensor | None:
        """Places of hidden pieces among all B * S, (M,); None where none are to be found."""
        if self.objective.kind != "masked-lm" or self.labels is None:
            return None
        return (self.labels.flatten() != NO_TARGET).nonzero()[:, 0]

    def loss(self, logits: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Sum of the losses of all targets, as a scalar."""
        return self._target_losses(logits.float(), label_smoothing).sum()

    def losses(self, logits: Tensor) -> Tensor:
        """Sum of the losses of each text's targets, (B,) float64."""
        found = self._target_losses(logits.float(), 0.0).double()  # (B,), (B, S) or (M,)
        if self.hidden is not None:
            texts = self.hidden // self.input_ids.shape[1]  # (M,)
            return found.new_zeros(len(self.input_ids)).index_add(0, texts, found)
        return found.flatten(1).sum(1) if found.dim() > 1 else found

    def _target_losses(self, logits: Tensor, label_smoothing: float) -> Tensor:
        """Loss of each text (B,), hidden piece (M,), or position (B, S), 0 if it is not judged."""
        if self.labels is None:
            return self._vector_losses(logits)
        if self.hidden is not None:
            pieces = self.labels.flatten()[self.hidden]  # (M,)
            return cross_entropy(logits, pieces, NO_TARGET, label_smoothing)
        if self.objective.kind == "regression":
            by_label = self._squared(logits[:, 0] - self.labels)
        else:
            flat = cross_entropy(
                logits.flatten(0, -2),  # (B, C) or (B * S, C)
                self.labels.flatten(),
                NO_TARGET,
                label_smoothing,
            )
            by_label = flat.view_as(self.labels)  # (B,) or (B, S)
        if self.teacher is None:
            return by_label
        weight = self.objective.label_weight
        return weight * by_label + (1 - weight) * self._teacher_losses(logits, self.teacher)

    def _teacher_losses(self, logits: Tensor, teacher: Tensor) -> Tensor:
        if self.objective.kind == "regression":
            return self._squared(logits[:, 0] - teacher[:, 0])
        temperature = self.objective.temperature
        student = F.log_softmax(logits / temperature, dim=-1)
        wanted = F.log_softmax(teacher / temperature, dim=-1)
        divergence = F.kl_div(student, wanted, reduction="none", log_target=True).sum(-1)
        # T^2: gradients then stay of the size of those of the labels (Hinton et al. 2015)
        divergence = temperature**2 * divergence  # (B,) or (B, S)
        if self.labels is not None and self.labels.dim() > 1:
            return divergence.masked_fill(self.labels == NO_TARGET, 0.0)
        return divergence

    def _squared(self, differences: Tensor) -> Tensor:
        """Of numbers (B,) on the labels' scale: (B,), on a scale of spread 1."""
        return (differences / self.objective.spread) ** 2

    def _vector_losses(self, vectors: Tensor) -> Tensor:
        if self.teacher is None:
            raise ValueError("an embedding batch is judged by a teacher's vectors, and has none")
        return 1 - F.cosine_similarity(vectors, self.teacher, dim=-1)  # (B,)


def token_types(input_ids: Tensor, attention_mask: Tensor, sep_id: int, num_types: int) -> Tensor:
    """0 up to and including the first separator, 1 after it, 0 at padding; (B, S) int64."""
    if num_types < 2:
        return torch.zeros_like(input_ids)
    is_sep = (input_ids == sep_id).long()
    passed = is_sep.cumsum(1) - is_sep  # separators before each position
    return (passed > 0).long() * attention_mask
