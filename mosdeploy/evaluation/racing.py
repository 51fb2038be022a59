"""Racing: when the evaluation of a subnet may stop, since it is clearly worse than an incumbent.

In: losses of both on the same blocks of validation examples. Out: yes or no. The examples are dealt
to the blocks at random, so the first blocks are a random sample of all of them, drawn without
replacement. This file uses no network.
"""

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
    """Numbers of blocks after which the losses are compared; the last is all of them.

    Examples
    --------
    >>> interim_looks(64)
    (16, 32, 64)
    """
    # two blocks at least, since the t-test estimates a variance from them
    looks = {max(math.ceil(share * num_blocks), 2) for share in LOOK_SHARES}
    return (*sorted(look for look in looks if look < num_blocks), num_blocks)


def should_stop(nats: Sequence[float], incumbent: Sequence[float], num_blocks: int) -> bool:
    """Whether a subnet's loss over all blocks is above its incumbent's, judged by the first few.

    A one-sided paired t-test on the differences, with the correction for a finite population (all
    `num_blocks` blocks) and Bonferroni's correction for the number of looks. It never says yes
    where no difference is positive.

    Parameters
    ----------
    nats
        Losses of the subnet on the first blocks, at least two, in nats.
    incumbent
        Losses of the incumbent on these blocks, and perhaps on more.
    num_blocks
        How many blocks there are in all.
    """
    num_seen = len(nats)
    # paired: what makes a block hard for both cancels out
    differences = np.subtract(nats, incumbent[:num_seen])
    # n of N blocks, drawn without replacement: the mean's variance is s^2 / n * (1 - n / N)
    error = differences.std(ddof=1) * math.sqrt((1.0 - num_seen / num_blocks) / num_seen)
    # one-sided, n - 1 degrees of freedom, an equal share of ALPHA for each look
    quantile = stdtrit(num_seen - 1, 1.0 - ALPHA / len(LOOK_SHARES))
    return bool(differences.mean() > quantile * error)
