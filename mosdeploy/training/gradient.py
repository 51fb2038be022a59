"""The gradient of one update: the mean over its architectures and the target tokens of the batches
that each reads.

In: a network and the number of an update. Out: gradients at its parameters, the same ones on every
rank, and the loss. No step is taken here.

Shapes: B sentences, T target positions, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from ..config.sections import TrainingConfig
from ..families.translation.dataset import Batch, Batches
from ..families.translation.network import Subnet
from ..families.translation.tokenizer import PAD_ID
from ..spaces.genes import ArchConfig
from ..supernet.supernet import Supernet
from .device import DeviceContext
from .distributed import DistributedContext
from .schedule import sandwich, steps_of

_DROPOUT, _ROUTERS = 1, 2  # random streams; 0 is that of the architectures


@dataclass(frozen=True)
class Gradient:
    """What adds up gradients at the parameters of a network, scaled as the scaler wants them."""

    net: Supernet | Subnet
    config: TrainingConfig
    compute: DeviceContext
    scaler: torch.amp.GradScaler
    ranks: DistributedContext

    def add_up(self, batches: Batches, update: int) -> tuple[float, int]:
        """Add the gradients of an update to those at the parameters.

        Each rank computes its share of the batches, as parts of the mean over all; then gradients
        are added up once.

        Returns
        -------
        tuple
            The loss per target token, and how many target tokens were read, each counted once.
        """
        self.net.train()
        archs = self._archs(update)
        parts = steps_of(self.config, len(archs), update)
        num_tokens = {step: batches.num_tokens(step) for steps in parts for step in steps}
        num_terms = sum(num_tokens[step] for steps in parts for step in steps)
        own = [self.ranks.share(steps) for steps in parts]
        loaded = {
            step: batches[step].to(self.compute.device)
            for step in sorted({s for steps in own for s in steps})
        }
        total = torch.zeros((), device=self.compute.device)
        for i, (arch, steps) in enumerate(zip(archs, own, strict=True)):
            self._seed(_ROUTERS, update, i)
            total += self._accumulate([(step, loaded[step]) for step in steps], arch, i, num_terms)
        self.ranks.add([total, *(p.grad for p in self.net.parameters() if p.grad is not None)])
        return total.item(), sum(num_tokens.values())

    def _archs(self, update: int) -> Sequence[ArchConfig | None]:
        if isinstance(self.net, Supernet):
            return sandwich(self.net.space, self.config, update)
        return [None]

    def _seed(self, stream: int, number: int, index: int) -> None:
        """Seed what the next dropout draws: the same on every rank for an update, and on any rank
        for a batch.
        """
        rng = np.random.default_rng([self.config.seed % 2**63, stream, number, index])
        torch.manual_seed(int(rng.integers(2**62)))

    def _accumulate(
        self,
        batches: Sequence[tuple[int, Batch]],
        arch: ArchConfig | None,
        index: int,
        num_terms: int,
    ) -> torch.Tensor:
        """Add the gradients of one architecture, whose weights are generated once for all batches;
        returns its loss.

        Gradients gather at the generated weights and go through the routers and experts once, which
        gives the same sum; a router draws its dropout once an update.
        """
        generated = (
            self.net.generate(arch, router_dropout=True)
            if arch and isinstance(self.net, Supernet)
            else {}
        )
        leaf_weights = {
            name: weight.detach().requires_grad_() for name, weight in generated.items()
        }
        total = torch.zeros((), device=self.compute.device)
        for step, batch in batches:
            self._seed(_DROPOUT, step, index)
            with self.compute.autocast():
                lent_to = [arch, leaf_weights] if arch else []
                logits = self.net(
                    batch.src,
                    batch.prev,
                    *lent_to,
                    activation_checkpointing=self.config.activation_checkpointing,
                )  # (B, T, V)
            loss = self._summed_loss(logits, batch) / num_terms
            torch.autograd.backward([self.scaler.scale(loss)])
            total += loss.detach()
        if generated:
            torch.autograd.backward(
                list(generated.values()), [weight.grad for weight in leaf_weights.values()]
            )
        return total

    def _summed_loss(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return F.cross_entropy(
            logits.flatten(0, 1).float(),  # (B * T, V)
            batch.target.flatten(),  # (B * T,)
            ignore_index=PAD_ID,
            label_smoothing=self.config.label_smoothing,
            reduction="sum",
        )
