"""Subnets that are trained for the same time: their steps, and what a short step is worth."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config import RunConfig
from ..errors import StaleInputError
from ..family import Family
from ..run_folder.context import Progress
from ..run_folder.trained_run import TrainedRun
from ..spaces import ModelSpec
from ..spaces.genes import ArchConfig

if TYPE_CHECKING:
    from ..search.constraints import LossesOf

LEAST, MOST = 0.5, 3.0
"""Times as many steps as the reference architecture has, at least and at most."""
OPTIMIZER_MACS = 150
"""The update of one parameter takes as long as so many multiply-accumulates: it reads and writes
28 bytes. Fitted on an Intel Xeon, where batches of 256 and 1,024 tokens were tried.
"""
EARLIEST, LATEST = 0.3, 0.8
"""Where the second half may begin, as shares of all steps: it begins with a validation."""
SAMPLE_EXAMPLES = 10_000
"""Evenly spaced ones whose batches are counted."""
MOST_SUPERNET_STEPS = 0.5
"""Of a winner's steps."""
MOST_READS = 5
"""Of each example, after which more steps count for nothing."""


StepWork = Callable[[ArchConfig], float]


def step_work(config: RunConfig, family: Family) -> StepWork:
    """Return what counts the work of training an architecture alone for a step, in MACs."""
    spec = ModelSpec(config.space, config.vocab_size, config.workload.one_example)
    num_examples = len(family.made_up_dataset(config)) * config.training.grad_accum_steps

    def work(arch: ArchConfig) -> float:
        # the backward pass does twice the work of the forward pass
        passes = 3 * num_examples * spec.num_macs(arch)
        return passes + OPTIMIZER_MACS * spec.num_parameters(arch)

    return work


def steps_for(state: TrainedRun, arch: ArchConfig, progress: Progress) -> int:
    """Return the steps of a winner: those of [finetune] or, with `same_time`, as many as take as
    long as these do of the reference architecture.
    """
    steps = state.config.finetune.steps
    if not state.config.finetune.same_time:
        return steps
    work = step_work(state.config, state.family)
    found = work(state.spec.reference_arch()) / work(arch)
    ratio = min(max(found, LEAST), MOST)
    own = max(1, round(ratio * steps))
    bound = "" if ratio == found else f" (not {found:.2f} times as many: {LEAST:g} to {MOST:g} are)"
    progress.say(
        f"{own:,} steps of {arch.key[:8]} stand for {steps:,} of the reference architecture{bound}"
    )
    return own


@dataclass(frozen=True)
class StepTimePenalty:
    """What is added to the losses of architectures, in nats a target."""

    loss_per_log_step: float
    steps: int
    most_steps: float
    step_time: Callable[[ArchConfig], float]
    """Of an architecture over that of the reference architecture."""

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
    work = step_work(config, state.family)
    reference = work(state.spec.reference_arch())
    return StepTimePenalty(slope, steps, most_steps, lambda arch: work(arch) / reference)


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
