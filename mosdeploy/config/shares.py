"""How many steps of a walk are the supernet's."""

import math

SUPERNET_SHARE = 0.07
"""Of the steps of a walk with one winner: a little above the least that chose well, as measured."""
SHARED = 0.19
"""Of the steps of a walk with several winners, over the square root of their number."""
MAX_SHARE = 0.5


def supernet_share(num_winners: int) -> float:
    """The supernet's share of all steps."""
    if num_winners == 1:
        return SUPERNET_SHARE
    return min(SHARED * math.sqrt(num_winners), MAX_SHARE)
