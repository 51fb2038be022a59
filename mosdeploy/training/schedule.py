"""What a step of a training is given: its learning rate, and of a supernet its architectures and
their batches.
"""

import math
from collections.abc import Sequence

import numpy as np

from ..config.sections import TrainingConfig
from ..spaces.genes import ArchConfig, SearchSpace

LARGEST_EVERY = 4
"""Steps of which one trains the largest architecture in place of the smallest, with the sandwich
`smallest`.
"""

_ARCHS = 0
"""Random stream beside those of gradient.py. numpy pads seeds with zeros, so that the architectures
of a step share the numbers, though not what is made of them, with the order of that epoch.
"""


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Learning rate of a step (from 1): linear warm-up, then one cosine or a line to zero, the
    inverse square root, or no change.
    """
    peak = config.learning_rate
    warmup = config.warmup_steps
    if step <= warmup:
        return peak * step / warmup
    if config.schedule == "constant":
        return peak
    if config.schedule == "inverse_sqrt":
        # proportional to step ** -0.5 (Vaswani et al., 2017), and without a jump at the end of the
        # warm-up
        return peak * math.sqrt(max(warmup, 1) / step)
    # + 1, so that the rate of the last step is not zero
    share = (step - warmup) / (config.steps - warmup + 1)
    if config.schedule == "linear":
        return peak * (1 - share)
    return peak * 0.5 * (1 + math.cos(math.pi * share))  # half a cosine


def batch_indices(config: TrainingConfig, num_archs: int, step: int) -> list[Sequence[int]]:
    """Numbers of the batches that each of the architectures of a step (from 1) reads; together the
    next ones.
    """
    first = (step - 1) * num_batches(config, num_archs)
    stride = config.grad_accum_steps if config.batch_sharing == "none" else 0
    starts = [first + stride * i for i in range(num_archs)]
    return [range(start, start + config.grad_accum_steps) for start in starts]


def num_batches(config: TrainingConfig, num_archs: int) -> int:
    """How many batches the architectures of a step read together."""
    return config.grad_accum_steps * (num_archs if config.batch_sharing == "none" else 1)


def sandwich(space: SearchSpace, config: TrainingConfig, step: int) -> list[ArchConfig]:
    """The architectures of one step: largest and smallest, as configured, then random ones drawn
    for this step (the sandwich rule of Yu & Huang, ICCV 2019).
    """
    # numpy takes no negative seeds
    rng = np.random.default_rng([config.seed % 2**63, step, _ARCHS])
    extremes = {
        "both": [space.largest, space.smallest],
        "largest": [space.largest],
        "smallest": [space.largest if step % LARGEST_EVERY == 0 else space.smallest],
        "none": [],
    }
    drawn = [space.sample(rng) for _ in range(config.num_random_archs)]
    return [*extremes[config.sandwich], *drawn]
