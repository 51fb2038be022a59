"""How well a network does on validation batches."""

from collections.abc import Sequence

import torch

from ..data.batches import Batch, check_has_targets
from ..spaces.genes import ArchConfig
from ..supernet.elastic import Subnet
from ..supernet.supernet import Supernet
from .distributed import DistributedContext


def validation_loss(
    model: Supernet | Subnet, batches: Sequence[Batch], arch: ArchConfig | None = None
) -> float:
    """Mean negative log-likelihood of the targets, in nats a target; no label smoothing, no
    dropout.
    """
    num_targets = _num_targets(batches)
    return _sum_of_losses(model, batches, arch) / num_targets


def _num_targets(batches: Sequence[Batch]) -> int:
    found = sum(batch.num_targets for batch in batches)
    if batches:
        check_has_targets(found)
    return found


@torch.no_grad()
def _sum_of_losses(
    model: Supernet | Subnet, batches: Sequence[Batch], arch: ArchConfig | None
) -> float:
    if not batches or isinstance(model, Supernet) != (arch is not None):
        raise ValueError(
            "validation_loss needs batches, and an architecture with a Supernet and only with it"
        )
    was_training = model.training
    device = next(model.parameters()).device
    model.eval()
    # float32 losses of batches are added up in float64: one number over many thousand targets
    total = torch.zeros((), dtype=torch.float64, device=device)
    for part in batches:
        batch = part.to(device)
        inputs = batch.inputs()
        logits = model(inputs, arch) if isinstance(model, Supernet) else model(*inputs)
        # sums, divided at the end: a mean of means would weigh a small batch like a large one;
        # without autocast, so that losses do not depend on the precision of the training
        total += batch.loss(logits)
    model.train(was_training)
    return total.item()


def shared_validation_loss(
    model: Supernet | Subnet,
    batches: Sequence[Batch],
    arch: ArchConfig | None,
    distributed: DistributedContext,
) -> float:
    """`validation_loss` of all batches, of which each rank computes its share."""
    # sums, not means: the ranks' shares have different numbers of targets
    share = distributed.share(batches)
    nats = 0.0  # a rank may get no batch
    if share:
        nats = _sum_of_losses(model, share, arch)  # its share may have no targets
    return distributed.total(nats) / _num_targets(batches)
