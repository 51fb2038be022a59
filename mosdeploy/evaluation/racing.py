"""Racing: when the evaluation of a subnet may stop, since it is clearly worse than an incumbent."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

NUM_BLOCKS = 64
LOOK_SHARES = (0.25, 0.5)
"""After which shares of the blocks an evaluation may stop."""
ALPHA = 1e-3
"""Probability, over all looks, of stopping a subnet that is as good as its incumbent."""
RULE = (NUM_BLOCKS, *LOOK_SHARES, ALPHA)
"""All that the answer depends on besides the losses."""


def interim_looks(num_blocks: int) -> tuple[int, ...]:
    """Numbers of blocks after which the losses are compared; the last is all of them."""
    # two blocks at least, since the t-test estimates a variance from them
    looks = {max(math.ceil(share * num_blocks), 2) for share in LOOK_SHARES}
    return (*sorted(look for look in looks if look < num_blocks), num_blocks)


def should_stop(nats: Sequence[float], incumbent: Sequence[float], num_blocks: int) -> bool:
    """Whether a subnet's loss over all blocks is above its incumbent's, judged by the first few."""
    num_seen = len(nats)
    # paired: what makes a block hard for both cancels out
    differences = np.subtract(nats, incumbent[:num_seen])
    # n of N blocks, drawn without replacement: the mean's variance is s^2 / n * (1 - n / N)
    error = differences.std(ddof=1) * math.sqrt((1.0 - num_seen / num_blocks) / num_seen)
    # one-sided, n - 1 degrees of freedom, an equal share of ALPHA for each look
    quantile = stdtrit(num_seen - 1, 1.0 - ALPHA / len(LOOK_SHARES))
    return bool(differences.mean() > quantile * error)
