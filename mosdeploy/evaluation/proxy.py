"""The proxy for a subnet's quality: its loss on a fixed set of validation examples, stopped
early.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..data.batches import Batch, Dataset, check_has_targets, ordered_groups
from ..storage import fingerprint
from .cache import BlockLosses
from .racing import NUM_BLOCKS, RULE, interim_looks, should_stop

SHUFFLE_SEED = 1
TOKENS_PER_BATCH = 512
"""Positions a batch: on a processor padding costs more than one more batch does."""


@dataclass(frozen=True)
class _Stage:
    """What is evaluated between two looks."""

    num_blocks: int
    batches: tuple[tuple[Batch, Tensor], ...]


class ProxyEvaluator:
    """A fixed set of examples in blocks, evaluated in batches of like length."""

    rule = fingerprint(SHUFFLE_SEED, TOKENS_PER_BATCH, *RULE)

    def __init__(self, dataset: Dataset) -> None:
        self.num_blocks = min(len(dataset), NUM_BLOCKS)
        self.num_targets = int(dataset.num_targets.sum())
        if len(dataset):
            check_has_targets(self.num_targets)
        rng = np.random.default_rng(SHUFFLE_SEED)
        # the larger blocks are anywhere, so that the first ones are a fair sample in size too
        names = rng.permutation(self.num_blocks)
        block_of = names[rng.permutation(len(dataset)) % self.num_blocks]
        # one example may be longer than TOKENS_PER_BATCH, and then has a batch of its own
        tokens_per_batch = max(TOKENS_PER_BATCH, int(dataset.lengths.max(initial=0)))
        self._stages: list[_Stage] = []
        start = 0
        for stop in interim_looks(self.num_blocks):
            rows = np.flatnonzero((start <= block_of) & (block_of < stop))
            groups = ordered_groups(dataset, rows, tokens_per_batch)
            batches = (
                (dataset.batch(group), torch.from_numpy(block_of[group])) for group in groups
            )
            self._stages.append(_Stage(stop, tuple(batches)))
            start = stop

    @torch.no_grad()
    def evaluate(self, subnet: nn.Module, incumbent: BlockLosses | None = None) -> BlockLosses:
        """Compute the negative log-likelihood of the targets block by block; without label
        smoothing and dropout.
        """
        device = next(subnet.parameters()).device
        # float64: block sums of many float32 losses are compared in differences
        nats = torch.zeros(self.num_blocks, dtype=torch.float64, device=device)
        for stage in self._stages:
            for part, blocks in stage.batches:
                batch = part.to(device)
                losses = batch.losses(subnet(*batch.inputs()))  # (B,)
                # a batch holds examples of several blocks: each is added to the sum of its block
                nats.index_add_(0, blocks.to(device), losses)
            seen = tuple(nats[: stage.num_blocks].tolist())
            if not math.isfinite(sum(seen)):
                # without blocks, so that the cache does not take it for an early stop
                return BlockLosses()
            if (
                incumbent is not None
                and stage.num_blocks < self.num_blocks
                and should_stop(seen, incumbent.nats, self.num_blocks)
            ):
                return BlockLosses(nats=seen)
        return BlockLosses(nats=seen, loss=sum(seen) / self.num_targets)
