"""How many steps of a subnet take as long as those of [finetune] do of one of middling work.

In: a trained run, and an architecture. Out: a number of steps. The two are timed by turns, once:
who resumes reads what was found then.
"""

import contextlib
from functools import partial
from statistics import median

from ..errors import StaleInputError
from ..record import Record
from ..spaces.genes import ArchConfig
from ..storage import fingerprint, read_record, write_record
from .context import Progress
from .trained_run import TrainedRun

TURNS = 5
NUM_TIMED = 5
MAX_TIME_S = 10.0
"""Of a turn of either kind; two steps are timed in any case."""
LEAST, MOST = 0.5, 3.0
"""Times as many steps, whatever a trial says."""


class StepRatio(Record):
    """Steps of an architecture in the time of one of middling work; what that depends on."""

    inputs_sha256: str
    ratio: float


def own_steps(state: TrainedRun, arch: ArchConfig, progress: Progress) -> int:
    """Steps of one architecture: those of [finetune], or where it says `same_time`, as many as take
    as long.
    """
    finetune = state.config.finetune
    if not finetune.same_time:
        return finetune.steps
    ratio = min(max(_step_ratio(state, arch), LEAST), MOST)
    steps = max(1, round(ratio * finetune.steps))
    progress.say(
        f"{steps:,} steps of this subnet take as long as {finetune.steps:,} of one of middling work"
    )
    return steps


def _step_ratio(state: TrainedRun, arch: ArchConfig) -> float:
    """As measured once."""
    config = state.config
    reference = state.spec.reference_arch()
    if arch == reference:
        return 1.0
    inputs_sha256 = fingerprint(
        arch, reference, config.space, config.supernet, config.training, config.vocab_size
    )
    path = state.files.step_ratio_path(arch.key)
    with contextlib.suppress(StaleInputError):
        known = read_record(StepRatio, path, "mosdeploy finetune")
        if known.inputs_sha256 == inputs_sha256:
            return known.ratio
    ratio = median(_turn(state, (reference, arch)) for _ in range(TURNS))
    write_record(path, StepRatio(inputs_sha256=inputs_sha256, ratio=ratio))
    return ratio


def _turn(state: TrainedRun, archs: tuple[ArchConfig, ArchConfig]) -> float:
    """Time of a step of the first architecture over that of one of the second."""
    from ..training.cost import CostTask, step_seconds

    config = state.config
    examples = state.family.made_up_dataset(config)
    times_s = [
        step_seconds(
            CostTask(
                partial(state.family.fresh_subnet, arch, config.space, config.vocab_size, seed=1),
                config.supernet,
                config.training.unlimited,
                examples,
                NUM_TIMED,
                MAX_TIME_S,
            )
        )
        for arch in archs
    ]
    return times_s[0] / times_s[1]
