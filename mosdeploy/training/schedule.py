"""What an update of a training is given: its learning rate, and of a supernet its architectures.

In: the number of the update. Out: the same every time, whichever process asks.
"""

import math

import numpy as np

from ..config import TrainingConfig
from ..space import ArchConfig, SearchSpace

_ARCHS = 0  # random stream; others of the same seed are the trainer's


def learning_rate(config: TrainingConfig, update: int) -> float:
    """Learning rate of an update (from 1): linear warm-up, then one cosine to zero or the inverse square root."""
    peak, warmup = config.learning_rate, config.warmup_updates
    if update <= warmup:
        return peak * update / warmup
    if config.schedule == "inverse_sqrt":
        return peak * math.sqrt(max(warmup, 1) / update)
    return peak * 0.5 * (1 + math.cos(math.pi * (update - warmup) / (config.updates - warmup + 1)))


def sandwich(space: SearchSpace, num_random_archs: int, seed: int, update: int) -> list[ArchConfig]:
    """The architectures of one update: largest, smallest, then random ones drawn for this seed and update."""
    rng = np.random.default_rng([seed % 2**63, update, _ARCHS])
    return [space.largest, space.smallest, *(space.sample(rng) for _ in range(num_random_archs))]
