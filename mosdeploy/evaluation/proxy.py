"""The validation sentences that the subnets of a search are compared on, and how a subnet is read
against a incumbent.

In: sentence pairs, then one subnet after another. Out: `BlockLosses`, in full or, for a subnet that
is clearly worse than its incumbent on the first part, as far as it was read. The sentences are
dealt at random, the same way in every run, to blocks; all subnets read the same blocks in the same
batches, so that their losses can be compared block by block.

Shapes: B sentences, T target positions, V vocabulary.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..families.translation.dataset import Batch, TokenizedPairs, ordered_groups, pad
from ..families.translation.network import Subnet
from ..families.translation.tokenizer import PAD_ID
from ..storage import fingerprint
from .cache import BlockLosses
from .racing import NUM_BLOCKS, RULE, interim_looks, should_stop

DEAL_SEED = 1
READ_TOKENS = 512
"""Tokens a batch: on a processor padding costs more than one more batch does. Ninety-six sentences
of 17 pieces took a network of 192 columns 0.114 s of one core at 512, 0.135 s at 1,024 and 0.165 s
at 4,096.
"""


class ProxyEvaluator:
    """A fixed set of sentence pairs in blocks, read in batches of like length.

    Attributes
    ----------
    rule
        Fingerprint of how the sentences were dealt and when a subnet is given up.

    Raises
    ------
    ConfigError
        If there are no pairs.
    """

    rule = fingerprint(DEAL_SEED, READ_TOKENS, *RULE)

    def __init__(self, pairs: TokenizedPairs) -> None:
        rng = np.random.default_rng(DEAL_SEED)
        self.num_blocks = min(len(pairs), NUM_BLOCKS)
        block_of = rng.permutation(self.num_blocks)[rng.permutation(len(pairs)) % self.num_blocks]
        self.num_tokens = int((pairs.targets.lengths + 1).sum())
        self._stages: list[
            tuple[int, list[tuple[Batch, Tensor]]]
        ] = []  # blocks read by then; batches, rows' blocks
        start, tokens_per_batch = 0, max(READ_TOKENS, int(pairs.widths.max(initial=0)))
        for stop in interim_looks(self.num_blocks):
            rows = np.flatnonzero((start <= block_of) & (block_of < stop))
            groups = ordered_groups(pairs, rows, tokens_per_batch)
            self._stages.append(
                (stop, [(pad(pairs, group), torch.from_numpy(block_of[group])) for group in groups])
            )
            start = stop

    @torch.no_grad()
    def read(self, subnet: Subnet, incumbent: BlockLosses | None = None) -> BlockLosses:
        """Read the negative log-likelihood of the target tokens block by block; no label smoothing,
        no dropout.

        Parameters
        ----------
        subnet
            In eval mode, as `extract` leaves it.
        incumbent
            Full losses of another subnet: as soon as this one is clearly worse, it is given up.
        """
        device = next(subnet.parameters()).device
        nats = torch.zeros(self.num_blocks, dtype=torch.float64, device=device)
        for stop, batches in self._stages:
            for part, blocks in batches:
                batch = part.to(device)
                logits = subnet(batch.src, batch.prev)  # (B, T, V)
                lost = F.cross_entropy(
                    logits.flatten(0, 1).float(),
                    batch.target.flatten(),
                    ignore_index=PAD_ID,
                    reduction="none",
                ).view_as(batch.target)  # (B, T)
                nats.index_add_(0, blocks.to(device), lost.sum(1, dtype=torch.float64))
            seen = tuple(nats[:stop].tolist())
            if not math.isfinite(sum(seen)):
                return BlockLosses()
            if (
                incumbent is not None
                and stop < self.num_blocks
                and should_stop(seen, incumbent.nats, self.num_blocks)
            ):
                return BlockLosses(nats=seen)
        return BlockLosses(nats=seen, loss=sum(seen) / self.num_tokens)
