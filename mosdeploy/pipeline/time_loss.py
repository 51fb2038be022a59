"""What the time of a training step is worth in loss, where winners are trained for a time.

In: a trained run whose [finetune] says `same_time`. Out: what is added to the loss of each
architecture before a search compares it. What takes longer a step has fewer steps; what these are
worth is how the supernet's own validation loss fell in the second half of its training.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..spaces.genes import ArchConfig
from .context import Progress
from .same_time import LEAST, MOST, reference, step_ratio
from .trained_run import TrainedRun

if TYPE_CHECKING:
    from ..search.evolution import Evolution
    from ..search.oracle import LossesOf

NUM_TIMED_ARCHS = 3
"""Besides the reference: the smallest, and two that are drawn."""
NUM_DRAWN = 101
"""Random architectures of which the deepest and the widest for their work are timed."""
EARLIEST, LATEST = 0.3, 0.8
"""Where the second half may begin, as shares of all steps: it begins with a validation."""


@dataclass(frozen=True)
class TimeLoss:
    """What is added to the losses of architectures.

    Attributes
    ----------
    step_time
        The time of a step over that of one of the reference architecture.
    worth
        By how much the loss falls with e times as many steps, in nats a target.
    """

    step_time: Callable[[ArchConfig], float]
    worth: float

    def __call__(self, arch: ArchConfig) -> float:
        """Nats a target; negative where steps are shorter than those of the reference."""
        # more steps, or fewer, than these bounds allow are not trained either
        bounded = min(max(self.step_time(arch), 1 / MOST), 1 / LEAST)
        return self.worth * math.log(bounded)

    def added(self, losses: "LossesOf") -> "LossesOf":
        """The same losses with this added. An incumbent is left out unless its steps are as short:
        what has the higher loss may be the better one.
        """

        def with_time(
            archs: Sequence[ArchConfig], incumbents: Sequence[ArchConfig | None]
        ) -> Iterable[float | None]:
            own = [self(arch) for arch in archs]
            pairs = zip(own, incumbents, strict=True)
            beaten = [x if x is not None and self(x) <= mine else None for mine, x in pairs]
            for loss, mine in zip(losses(archs, beaten), own, strict=True):
                yield None if loss is None else loss + mine

        return with_time

    def noted(self, evolution: "Evolution") -> "Evolution":
        """The same with `time_loss` in all candidates."""
        ranked, front = (
            tuple(x.model_copy(update={"time_loss": self(x.arch)}) for x in candidates)
            for candidates in (evolution.ranked, evolution.front)
        )
        return replace(evolution, ranked=ranked, front=front)


def time_loss(state: TrainedRun, progress: Progress) -> TimeLoss | None:
    """What the time of a step is worth; None where it is worth nothing: where winners have as many
    steps whatever they take, or the supernet's loss no longer falls.

    Raises
    ------
    StaleInputError
        If the log of the training cannot be read.
    """
    from ..evaluation.step_time import StepTime

    if not state.config.finetune.same_time:
        return None
    worth = _worth(state)
    if worth is None:
        progress.say(
            "the supernet was validated too seldom to tell what more steps are worth: the time of "
            "training steps does not count in this search; lower training.validate_every"
        )
    if not worth:
        return None
    archs = _timed(state)
    times = [1 / step_ratio(state, arch, progress) for arch in archs]
    progress.say(
        f"what takes a tenth longer a training step counts as {worth * math.log(1.1):.3f} higher "
        f"in loss: e times as many steps of the supernet lowered it by {worth:.2f}"
    )
    return TimeLoss(StepTime.fit(state.spec, archs, times), worth)


def _worth(state: TrainedRun) -> float | None:
    """By how much the loss fell for e times as many steps, between the validation next to half of
    them and the last; None where there is none there.
    """
    from ..training.log import read_log

    found = {
        line.step: (line.largest_loss + line.smallest_loss) / 2
        for line in read_log(state.files.training_log_path)
        if line.largest_loss is not None and line.smallest_loss is not None
    }
    if not found:
        return None
    last = max(found)
    first = min(found, key=lambda step: abs(step - last / 2))
    if not EARLIEST <= first / last <= LATEST:
        return None
    return max(0.0, (found[first] - found[last]) / math.log(last / first))


def _timed(state: TrainedRun) -> list[ArchConfig]:
    """The reference, the smallest, and of some random architectures those with the most and the
    fewest layers for their work.
    """
    from ..evaluation.step_time import num_layers

    spec = state.spec
    rng = np.random.default_rng(0)
    drawn = [spec.space.sample(rng) for _ in range(NUM_DRAWN)]
    by_shape = sorted(drawn, key=lambda x: (spec.num_macs(x) / num_layers(spec, x), x.key))
    return list(dict.fromkeys([reference(state), spec.space.smallest, by_shape[0], by_shape[-1]]))
