"""One padded batch of sentence pairs, and how outputs for it are judged."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from ...data.cross_entropy import cross_entropy
from ...data.padding import pad_rows
from .tokenizer import BOS_ID, EOS_ID, PAD_ID


@dataclass(frozen=True)
class TranslationBatch:
    """One padded batch, int64; `num_targets` counts target positions that are not padding."""

    src: Tensor  # (B, S) tokens, end
    prev: Tensor  # (B, T) begin, tokens
    target: Tensor  # (B, T) tokens, end
    num_targets: int

    @classmethod
    def of(
        cls, sources: Sequence[npt.NDArray[np.int32]], targets: Sequence[npt.NDArray[np.int32]]
    ) -> "TranslationBatch":
        """Pad pairs of token ids without begin and end."""
        return cls(
            src=pad_rows([np.append(row, EOS_ID) for row in sources], PAD_ID),  # (B, S)
            prev=pad_rows([np.insert(row, 0, BOS_ID) for row in targets], PAD_ID),  # (B, T)
            target=pad_rows([np.append(row, EOS_ID) for row in targets], PAD_ID),  # (B, T)
            num_targets=sum(len(row) + 1 for row in targets),
        )

    def to(self, device: torch.device) -> "TranslationBatch":
        """Copy to a device; to a GPU by way of pinned memory, without waiting."""
        if device.type == "cpu":
            return self
        src, prev, target = (
            part.pin_memory().to(device, non_blocking=True)
            for part in (self.src, self.prev, self.target)
        )
        return TranslationBatch(src, prev, target, self.num_targets)

    def inputs(self) -> tuple[Tensor, Tensor]:
        """Source ids (B, S) and earlier target ids (B, T)."""
        return self.src, self.prev

    def loss(self, logits: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Negative log-likelihood of all target tokens, in nats, summed, from logits (B, T, V)."""
        return self._nats(logits, label_smoothing).sum()

    def losses(self, logits: Tensor) -> Tensor:
        """Negative log-likelihood of each pair, in nats, (B,) float64, from logits (B, T, V)."""
        nats = self._nats(logits, 0.0).view_as(self.target)
        return nats.sum(1, dtype=torch.float64)  # (B,)

    def _nats(self, logits: Tensor, label_smoothing: float) -> Tensor:
        """Of each position, (B * T,); 0 at padding."""
        flat = logits.flatten(0, 1).float()  # (B * T, V)
        return cross_entropy(flat, self.target.flatten(), PAD_ID, label_smoothing)

    def divergence(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Kullback-Leibler divergence from the teacher's distributions of all target tokens, in
        nats, summed, from logits (B, T, V) of both.
        """
        counts = self.target != PAD_ID  # (B, T)
        log_p = logits[counts].float().log_softmax(-1)  # (targets, V)
        teacher_log_p = teacher_logits[counts].float().log_softmax(-1)  # (targets, V)
        return F.kl_div(log_p, teacher_log_p, reduction="sum", log_target=True)
