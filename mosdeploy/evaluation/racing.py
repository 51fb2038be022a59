"""When to stop reading: whether a subnet is clearly worse than a incumbent after a part of the
validation sentences.

In: losses of both on the same blocks of sentences. Out: yes or no. The sentences were dealt to the
blocks at random, so the blocks read first are a random sample of all of them, without replacement.
This file knows no network.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

NUM_BLOCKS = 64
LOOK_SHARES = (0.25, 0.5)
"""After which shares of the blocks a subnet may be given up."""
ALPHA = 1e-3
"""How often a subnet that is as good as its incumbent may be given up, over all looks."""
RULE = (NUM_BLOCKS, *LOOK_SHARES, ALPHA)
"""All that the answer depends on besides the losses."""


def interim_looks(num_blocks: int) -> tuple[int, ...]:
    """Numbers of blocks after which to look; the last is all of them."""
    looks = {max(math.ceil(share * num_blocks), 2) for share in LOOK_SHARES}
    return (*sorted(look for look in looks if look < num_blocks), num_blocks)


def should_stop(nats: Sequence[float], incumbent: Sequence[float], num_blocks: int) -> bool:
    """Tell whether a subnet's loss over all blocks is above its incumbent's, as far as the first
    few of them can tell.

    A one-sided paired t-test on the differences, with the correction for a finite population (all
    `num_blocks`) and Bonferroni's for the looks. Where no difference is positive it never says yes.

    Parameters
    ----------
    nats
        Losses of the subnet on the first blocks, at least two.
    incumbent
        Those of the incumbent on these blocks, and perhaps on more.
    """
    seen = len(nats)
    differences = np.subtract(nats, incumbent[:seen])
    error = differences.std(ddof=1) * math.sqrt((1.0 - seen / num_blocks) / seen)
    quantile = stdtrit(seen - 1, 1.0 - ALPHA / len(LOOK_SHARES))
    return bool(differences.mean() > quantile * error)
