"""How many steps of a walk are the supernet's."""

import math

SUPERNET_SHARE = 0.07
"""Of the steps of a walk with one winner: a little above the least that chose well in
`benchmarks/compute_split.json`.
"""
SHARED = 0.19
"""Of the steps of a walk with several winners, over the square root of their number: in
`benchmarks/by_hand-en-de.json` four winners of a supernet with 0.41 of all time had the better
of training each alone.
"""
MAX_SHARE = 0.5


def supernet_share(num_winners: int) -> float:
    """The supernet's share of all steps."""
    if num_winners == 1:
        return SUPERNET_SHARE
    return min(SHARED * math.sqrt(num_winners), MAX_SHARE)
