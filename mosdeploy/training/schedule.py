"""What an update of a training is given: its learning rate, and of a supernet its architectures and
their batches.

In: the number of the update. Out: the same every time, whichever process asks.
"""

import math
from collections.abc import Sequence

import numpy as np

from ..config.sections import TrainingConfig
from ..spaces.genes import ArchConfig, SearchSpace

_ARCHS = 0  # random stream; others of the same seed are the trainer's


def learning_rate(config: TrainingConfig, update: int) -> float:
    """Learning rate of an update (from 1): linear warm-up, then one cosine to zero or the inverse
    square root.
    """
    peak, warmup = config.learning_rate, config.warmup_steps
    if update <= warmup:
        return peak * update / warmup
    if config.schedule == "inverse_sqrt":
        return peak * math.sqrt(max(warmup, 1) / update)
    return peak * 0.5 * (1 + math.cos(math.pi * (update - warmup) / (config.steps - warmup + 1)))


def steps_of(config: TrainingConfig, num_archs: int, update: int) -> list[Sequence[int]]:
    """Numbers of the batches that each of the architectures of an update (from 1) reads; together
    the next ones.

    Batches of their own cost no more than the same ones, and the update averages over as many times
    more sentences.
    """
    first = (update - 1) * num_batches(config, num_archs)
    starts = [
        first + config.grad_accum_steps * (i if config.batch_sharing == "none" else 0)
        for i in range(num_archs)
    ]
    return [range(start, start + config.grad_accum_steps) for start in starts]


def num_batches(config: TrainingConfig, num_archs: int) -> int:
    """How many batches the architectures of an update read together."""
    return config.grad_accum_steps * (num_archs if config.batch_sharing == "none" else 1)


def sandwich(space: SearchSpace, config: TrainingConfig, update: int) -> list[ArchConfig]:
    """The architectures of one update: largest and smallest, as configured, then random ones drawn
    for this update.
    """
    rng = np.random.default_rng([config.seed % 2**63, update, _ARCHS])
    extremes = {"both": [space.largest, space.smallest], "largest": [space.largest], "none": []}[
        config.sandwich
    ]
    return [*extremes, *(space.sample(rng) for _ in range(config.num_random_archs))]
