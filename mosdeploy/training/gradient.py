"""The architectures of one step, the batches that each reads, and the gradient: the mean over the
architectures and the targets of their batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ..config.sections import TrainingConfig
from ..data.batches import Batch, Batches, TeachableBatch
from ..spaces.genes import ArchConfig, SearchSpace
from ..supernet.elastic import StateDict, Subnet
from ..supernet.supernet import Supernet
from .device import DeviceContext
from .distributed import DistributedContext

LARGEST_EVERY = 4
"""Steps of which one trains the largest architecture in place of the smallest, with the sandwich
`smallest`.
"""

# random streams. numpy pads seeds with zeros, so that the architectures of a step share the
# numbers, though not what is made of them, with the order of that epoch
_ARCHS = 0
_DROPOUT = 1
_ROUTERS = 2


def batch_indices(config: TrainingConfig, num_archs: int, step: int) -> list[Sequence[int]]:
    """Numbers of the batches that each of the architectures of a step (from 1) reads; together the
    next ones.
    """
    first = (step - 1) * num_batches(config, num_archs)
    stride = config.grad_accum_steps if config.batch_sharing == "none" else 0
    starts = [first + stride * i for i in range(num_archs)]
    return [range(start, start + config.grad_accum_steps) for start in starts]


def num_batches(config: TrainingConfig, num_archs: int) -> int:
    """How many batches the architectures of a step read together."""
    return config.grad_accum_steps * (num_archs if config.batch_sharing == "none" else 1)


def sandwich(space: SearchSpace, config: TrainingConfig, step: int) -> list[ArchConfig]:
    """The architectures of one step: largest and smallest, as configured, then random ones drawn
    for this step (the sandwich rule of Yu & Huang, ICCV 2019).
    """
    # numpy takes no negative seeds
    rng = np.random.default_rng([config.seed % 2**63, step, _ARCHS])
    extremes = {
        "both": [space.largest, space.smallest],
        "largest": [space.largest],
        "smallest": [space.largest if step % LARGEST_EVERY == 0 else space.smallest],
        "none": [],
    }
    drawn = [space.sample(rng) for _ in range(config.num_random_archs)]
    return [*extremes[config.sandwich], *drawn]


@dataclass(frozen=True)
class Distillation:
    """A teacher of one subnet, and for how much of the loss its distributions count."""

    teacher: Subnet
    weight: float = 0.5

    @torch.no_grad()
    def logits(self, batch: Batch) -> Tensor:
        """What the teacher says of a batch."""
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


@dataclass(frozen=True)
class Gradient:
    """What adds up gradients at the parameters of a network, scaled as the scaler wants them."""

    net: Supernet | Subnet
    config: TrainingConfig
    context: DeviceContext
    scaler: torch.amp.GradScaler
    distributed: DistributedContext
    distillation: Distillation | None = None

    def add_up(self, batches: Batches, step: int) -> tuple[float, int]:
        """Add the gradients of a step to those at the parameters."""
        self.net.train()
        archs = self._archs(step)
        parts = batch_indices(self.config, len(archs), step)
        num_targets = {i: batches.num_targets(i) for indices in parts for i in indices}
        # a shared batch counts once for each architecture that reads it; texts of a masked language
        # model may have no targets at all, and then add nothing
        num_terms = max(1, sum(num_targets[i] for indices in parts for i in indices))
        # every rank knows the numbers of all batches, and makes only those of its share
        shares = [self.distributed.share(indices) for indices in parts]
        loaded = {
            i: batches[i].to(self.context.device)
            for i in sorted({i for indices in shares for i in indices})
        }
        total = torch.zeros((), device=self.context.device)
        with self.context.attention():
            for number, (arch, indices) in enumerate(zip(archs, shares, strict=True)):
                self._seed(_ROUTERS, step, number)  # all ranks generate the same weights
                read = [(i, loaded[i]) for i in indices]
                total += self._accumulate(read, arch, number, num_terms)
        # every rank has batches for every architecture (there are no more ranks than
        # grad_accum_steps), so all have gradients of the same parameters, in the same order
        gradients = [p.grad for p in self.net.parameters() if p.grad is not None]
        self.distributed.all_reduce([total, *gradients])
        return total.item(), sum(num_targets.values())

    def _archs(self, step: int) -> Sequence[ArchConfig | None]:
        if isinstance(self.net, Supernet):
            return sandwich(self.net.space, self.config, step)
        return [None]

    def _seed(self, stream: int, number: int, index: int) -> None:
        """Seed what the next dropout draws: the same on every rank for a step, and on any rank for
        a batch.
        """
        rng = np.random.default_rng([self.config.seed % 2**63, stream, number, index])
        torch.manual_seed(int(rng.integers(2**62)))

    def _accumulate(
        self,
        batches: Sequence[tuple[int, Batch]],
        arch: ArchConfig | None,
        arch_number: int,
        num_terms: int,
    ) -> Tensor:
        """Add the gradients of one architecture, whose weights are generated once for all batches;
        returns its loss.
        """
        generated: StateDict = {}
        if arch is not None and isinstance(self.net, Supernet):
            generated = self.net.generate(arch, router_dropout=True)
        # leaves: the backward pass of a batch stops at the generated weights
        leaf_weights = {
            name: weight.detach().requires_grad_() for name, weight in generated.items()
        }
        total = torch.zeros((), device=self.context.device)
        for index, batch in batches:
            self._seed(_DROPOUT, index, arch_number)  # the same whichever rank reads the batch
            taught = None
            with self.context.autocast():
                logits = self._logits(batch, arch, leaf_weights)
                if self.distillation is not None:
                    taught = self.distillation.logits(batch)
            smoothing = self.config.label_smoothing
            if self.distillation is None or taught is None:
                loss = batch.loss(logits, smoothing)
            else:
                loss = self.distillation.loss(batch, logits, taught, smoothing)
            # a part of the step's mean: parts of all batches, architectures and ranks only have to
            # be added
            loss = loss / num_terms
            torch.autograd.backward([self.scaler.scale(loss)])
            total += loss.detach()
        if generated:
            gradients = [weight.grad for weight in leaf_weights.values()]
            known = _WithGradients.apply(gradients, *generated.values())  # type: ignore[no-untyped-call]
            torch.autograd.backward([known])
        return total

    def _logits(self, batch: Batch, arch: ArchConfig | None, weights: StateDict) -> Tensor:
        checkpointing = self.config.activation_checkpointing
        logits: Tensor
        if isinstance(self.net, Supernet):
            assert arch is not None
            logits = self.net(batch.inputs(), arch, weights, checkpointing)
        else:
            logits = self.net(*batch.inputs(), activation_checkpointing=checkpointing)
        return logits


class _WithGradients(torch.autograd.Function):
    """A scalar whose backward pass gives tensors the gradients that are known already."""

    @staticmethod
    def forward(ctx: Any, gradients: Sequence[Tensor | None], *tensors: Tensor) -> Tensor:
        """Keep the gradients for the way back."""
        ctx.gradients = gradients
        return tensors[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        """None for the list itself, then one for each tensor."""
        return (None, *ctx.gradients)
