"""Cross-entropy whose gradient is computed in the memory of the log-probabilities."""

from typing import Any

from torch import Tensor, autograd, full_like
from torch.autograd.function import once_differentiable


def cross_entropy(
    logits: Tensor, targets: Tensor, ignored: int, label_smoothing: float = 0.0
) -> Tensor:
    """Negative log-likelihood of each target, as `torch.nn.functional.cross_entropy`
    computes it.
    """
    apply: Any = _CrossEntropy.apply  # torch gives it no types
    losses: Tensor = apply(logits, targets, ignored, label_smoothing)
    return losses


class _CrossEntropy(autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, ignored: int, label_smoothing: float
    ) -> Tensor:
        log_p = logits.log_softmax(-1)  # (N, V)
        is_ignored = targets == ignored  # (N,)
        places = targets.masked_fill(is_ignored, 0)[:, None]  # (N, 1)
        losses = (label_smoothing - 1) * log_p.gather(1, places)[:, 0]
        if label_smoothing:
            losses = losses - label_smoothing * log_p.mean(-1)
        ctx.save_for_backward(log_p, places, is_ignored)
        ctx.label_smoothing = label_smoothing
        return losses.masked_fill(is_ignored, 0.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        log_p, places, is_ignored = ctx.saved_tensors
        share = ctx.label_smoothing
        # p less the smoothed target, in place
        found = log_p.exp_()
        if share:
            found.sub_(share / found.shape[1])
        found.scatter_add_(1, places, full_like(places, share - 1, dtype=found.dtype))
        found.mul_(gradient.masked_fill(is_ignored, 0.0)[:, None])
        return found, None, None, None
