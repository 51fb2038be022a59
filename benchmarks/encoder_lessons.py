"""What a network of encoders may learn from a teacher beside its outputs: hidden states, relations.

In: a teacher and a network. Out: a `Distillation` of a subnet that is trained alone; and, while a
supernet is trained, the same for each subnet of a step.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mosdeploy.training.gradient import Gradient

MASKED = -1e9
"""Of a score: finite, so that differences of logarithms are numbers."""
HIDDEN_STATES = "hidden states"
RELATIONS = "relations"
WEIGHTS = {HIDDEN_STATES: 10.0, RELATIONS: 1.0}
"""Of each in the loss."""


def hidden_states(own: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Mean squared error of the states (B, S, d) of each layer, from the first, to the teacher's at
    the same share of the depth, at the real tokens of `mask` (B, S).
    """
    depth = len(own) - 1
    found = []
    for i in range(1, depth + 1):
        theirs = teacher[round(i * (len(teacher) - 1) / depth)]
        error = (own[i].float() - theirs.float()).square().mean(-1)  # (B, S)
        found.append(((error * mask).sum(1) / mask.sum(1)).mean())
    return torch.stack(found).mean()


def relations(own: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Mean divergence of softmax(A A^T / sqrt(width)) of each A (B, R, S, W) from the teacher's, at
    the real tokens of `mask` (B, S), in nats.
    """
    found = []
    for a, b in zip(own, teacher, strict=True):
        logs = [
            (x.float() @ x.float().mT / math.sqrt(x.shape[-1]))
            .masked_fill(mask[:, None, None, :] == 0, MASKED)
            .log_softmax(-1)
            for x in (a, b)
        ]
        divergence = F.kl_div(*logs, reduction="none", log_target=True).sum(-1).mean(1)  # (B, S)
        found.append(((divergence * mask).sum(1) / mask.sum(1)).mean())
    return torch.stack(found).mean()


def projections(net: Any, x: Tensor, groups: int) -> list[Tensor]:
    """Queries, keys and values of the last layer, whose input is (B, S, d), in groups of heads."""
    attention = net.layers[-1].self_attn
    whole = (attention.q(x), attention.k(x), attention.v(x))  # each (B, S, heads * W)
    return [y.unflatten(-1, (groups, -1)).transpose(1, 2) for y in whole]


@dataclass(frozen=True)
class Lesson:
    """A `Distillation` of what the layers of a teacher compute, beside its outputs."""

    teacher: Any
    name: str
    weight: float

    def outputs(self, net: Any, batch: Any, activation_checkpointing: bool) -> tuple[Tensor, ...]:
        """Logits, then what is compared: the network's and the teacher's."""
        inputs, hidden = batch.inputs()[:3], batch.hidden
        states = list(net.hidden_states(*inputs, activation_checkpointing))
        with torch.no_grad():
            theirs = list(self.teacher.eval().hidden_states(*inputs))
        logits = net.answer(states[-1], batch.attention_mask, hidden)
        if self.name == HIDDEN_STATES:
            return logits, *states, *theirs
        groups = math.gcd(*(x.layers[-1].self_attn.heads for x in (net, self.teacher)))
        own = projections(net, states[-2], groups)
        with torch.no_grad():
            return logits, *own, *projections(self.teacher, theirs[-2], groups)

    def loss(self, batch: Any, outputs: tuple[Tensor, ...], label_smoothing: float) -> Tensor:
        """The usual loss, and `weight` times the other for each target."""
        logits, *rest = outputs
        compare = hidden_states if self.name == HIDDEN_STATES else relations
        own = len(rest) - len(self.teacher.layers) - 1 if self.name == HIDDEN_STATES else 3
        more = compare(rest[:own], rest[own:], batch.attention_mask)
        return batch.loss(logits, label_smoothing) + self.weight * batch.num_targets * more


class _Taught(nn.Module):
    """A subnet whose forward pass is a lesson."""

    def __init__(self, subnet: nn.Module, lesson: Lesson) -> None:
        super().__init__()
        self.subnet = subnet
        self.lesson = lesson

    def forward(self, batch: Any) -> tuple[Tensor, ...]:
        """What the lesson compares."""
        return self.lesson.outputs(self.subnet, batch, False)


@contextlib.contextmanager
def taught_subnets(lesson: Lesson) -> Iterator[None]:
    """Have each subnet of a supernet that is trained learn a lesson."""

    def outputs(self: Gradient, batch: Any, arch: Any, weights: Any) -> tuple[Tensor, ...]:
        net: Any = self.net
        taught = _Taught(net.skeleton(arch).train(), lesson)
        named = {f"subnet.{name}": weight for name, weight in weights.items()}
        found: tuple[Tensor, ...] = torch.func.functional_call(taught, named, (batch,), strict=True)
        return found

    def loss(self: Gradient, batch: Any, outputs: tuple[Tensor, ...]) -> Tensor:
        return lesson.loss(batch, outputs, self.config.label_smoothing)

    with patch.object(Gradient, "_outputs", outputs), patch.object(Gradient, "_loss", loss):
        yield
