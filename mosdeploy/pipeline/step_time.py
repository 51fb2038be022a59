"""What the time of a training step is worth in loss, where winners are trained for a time."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from ..errors import StaleInputError
from ..run_folder.context import Progress
from ..run_folder.trained_run import TrainedRun
from ..spaces.genes import ArchConfig
from .same_time import LEAST, MOST, step_ratios

if TYPE_CHECKING:
    from ..search.constraints import LossesOf
    from ..search.step_time import StepTime

NUM_SHAPES = 3
"""Architectures whose steps are timed beside the reference's, if no two are the same."""
NUM_DRAWN = 101
"""Random architectures of which the deepest and the widest for their size are timed."""
EARLIEST, LATEST = 0.3, 0.8
"""Where the second half may begin, as shares of all steps: it begins with a validation."""
SAMPLE_EXAMPLES = 10_000
"""Evenly spaced ones whose batches are counted."""
MOST_SUPERNET_STEPS = 0.5
"""Of a winner's steps."""
MOST_READS = 5
"""Of each example, after which more steps count for nothing."""


@dataclass(frozen=True)
class StepTimePenalty:
    """What is added to the losses of architectures, in nats a target."""

    loss_per_log_step: float
    steps: int
    most_steps: float
    timed: "Callable[[], StepTime]"

    @cached_property
    def step_time(self) -> "StepTime":
        """Times of steps over that of one of the reference architecture."""
        return self.timed()

    def __call__(self, arch: ArchConfig) -> float:
        """Return what is added; negative where steps are shorter than those of the reference."""
        # no winner has more steps than these bounds allow, or fewer
        own = self.steps * min(max(1 / self.step_time(arch), LEAST), MOST)
        ratio = min(self.steps, self.most_steps) / min(own, self.most_steps)
        return self.loss_per_log_step * math.log(ratio)

    def added(self, losses: "LossesOf") -> "LossesOf":
        """Return the same losses with the penalty added."""

        def with_time(archs: Sequence[ArchConfig]) -> Iterator[float | None]:
            for arch, loss in zip(archs, losses(archs), strict=True):
                yield None if loss is None else loss + self(arch)

        return with_time


def step_time_penalty(state: TrainedRun, progress: Progress) -> StepTimePenalty | None:
    """Return what the time of a step is worth; None where it is worth nothing, or nothing tells."""
    config = state.config
    steps = config.finetune.steps
    if not config.finetune.same_time or config.finetune.inherited_share == 1:
        return None
    if config.training.steps > MOST_SUPERNET_STEPS * steps:
        return None
    most_steps = MOST_READS * _epoch_steps(state)
    if steps * LEAST >= most_steps:
        return None
    slope = _loss_per_log_step(state)
    if slope is None:
        progress.say(
            "nothing tells what more steps are worth, as the supernet was not validated halfway: "
            "the time of training steps does not count in this search. training.validate_every "
            "says how often the next supernet is validated"
        )
    if not slope:
        return None
    progress.say(
        "subnets whose training steps take longer have fewer of them in the same time: a tenth "
        f"longer counts as a loss higher by {slope * math.log(1.1):.3f}, by the supernet's own "
        "validations"
    )
    return StepTimePenalty(slope, steps, most_steps, partial(_step_time, state, progress))


def _epoch_steps(state: TrainedRun) -> float:
    """Return the steps of a winner that reads each of its examples once."""
    from ..data.batches import Batches

    training = state.config.training
    examples = state.training_examples
    stride = -(-len(examples) // SAMPLE_EXAMPLES)
    sample = state.tokenized(examples[::stride])
    batches = Batches(sample, training.tokens_per_batch, training.seed)
    return stride * len(batches) / training.grad_accum_steps


def _loss_per_log_step(state: TrainedRun) -> float | None:
    """Return by how much the loss fell for e times as many steps, between the validation next to
    half of them and the last; None where there is none there.
    """
    from ..training.log import validation_losses

    try:
        found = validation_losses(state.files.training_log_path)
    except StaleInputError:  # a search can do without
        return None
    if not found:
        return None
    last = max(found)
    first = min(found, key=lambda step: abs(step - last / 2))
    if not EARLIEST <= first / last <= LATEST:
        return None
    return max(0.0, (found[first] - found[last]) / math.log(last / first))


def _step_time(state: TrainedRun, progress: Progress) -> "StepTime":
    """Time steps of the reference, the smallest, and of some random architectures those with the
    most and the fewest layers for their size.
    """
    from ..search.step_time import StepTime

    spec = state.spec
    rng = np.random.default_rng(0)
    drawn = [spec.space.sample(rng) for _ in range(NUM_DRAWN)]
    by_shape = sorted(
        drawn, key=lambda x: (spec.num_parameters(x) / sum(spec.space.depths(x)), x.key)
    )
    # in a small space some are the same
    archs = list(
        dict.fromkeys([spec.reference_arch(), spec.space.smallest, by_shape[0], by_shape[-1]])
    )
    times = [1 / ratio for ratio in step_ratios(state, archs, progress)]
    return StepTime.fit(spec, archs, times)
