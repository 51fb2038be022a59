"""How many steps of a subnet take as long as those of [finetune] do of the reference
architecture.
"""

from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Annotated, Literal

from pydantic import Field

from ..record import Record
from ..run_folder.budget import busy
from ..run_folder.context import Progress
from ..run_folder.trained_run import TrainedRun
from ..spaces.genes import ArchConfig
from ..storage import fingerprint, readable_record, write_record

TURNS = 5
NUM_TIMED = 5
MAX_TIME_S = 5.0
"""Of a turn of either kind; two steps are timed in any case."""
LEAST, MOST = 0.5, 3.0
"""Times as many steps, whatever the trial says."""

Ratio = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class StepRatio(Record):
    """Steps of an architecture in the time of one of the reference architecture when it was first
    timed; what that depends on; and the same by each reference that it was timed beside, and where.
    """

    version: Literal[1] = 1
    inputs_sha256: str
    ratio: Ratio
    by_reference: dict[str, Ratio] = Field(default_factory=dict)


def own_steps(state: TrainedRun, arch: ArchConfig, progress: Progress) -> int:
    """Steps of one architecture: those of [finetune], or where it says `same_time`, as many as take
    as long.
    """
    steps = state.config.finetune.steps
    if not state.config.finetune.same_time:
        return steps
    # what is trained keeps its steps: its workload may have had another reference
    if (known := _known(state, arch)) is not None:
        found = known.ratio
    else:
        (found,) = step_ratios(state, [arch], progress)
    ratio = min(max(found, LEAST), MOST)
    own = max(1, round(ratio * steps))
    bound = "" if ratio == found else f" (not {found:.2f} times as many: {LEAST:g} to {MOST:g} are)"
    progress.say(
        f"{own:,} steps of {arch.key[:8]} stand for {steps:,} of the reference architecture{bound}"
    )
    return own


def step_ratios(state: TrainedRun, archs: Sequence[ArchConfig], progress: Progress) -> list[float]:
    """Steps of each architecture in the time of one of the reference architecture; what is timed is
    known afterwards.
    """
    other = state.spec.reference_arch()
    beside = _beside(state, other)
    known = {other.key: 1.0}
    records = {arch.key: _known(state, arch) for arch in archs}
    for key, record in records.items():
        if record is not None and key != other.key and beside in record.by_reference:
            known[key] = record.by_reference[beside]
    new = [arch for arch in archs if arch.key not in known]
    if new:
        state.data  # noqa: B018  refuses a changed run file, before what is known is written over
        if told := busy():
            progress.say(told)
        names = ", ".join(arch.key[:8] for arch in new)
        progress.say(f"timing steps of {names} and of the reference architecture by turns")
    for arch in new:
        ratio = median(_turn(state, other, arch) for _ in range(TURNS))
        inputs = _inputs_sha256(state, arch)
        # another command may have timed it meanwhile, and train it by what it found
        first = _known(state, arch) or StepRatio(inputs_sha256=inputs, ratio=ratio)
        ratios = {beside: ratio, **first.by_reference}
        record = first.model_copy(update={"by_reference": ratios})
        write_record(state.files.step_ratio_path(arch.key), record)
        known[arch.key] = ratios[beside]
    return [known[arch.key] for arch in archs]


def _beside(state: TrainedRun, other: ArchConfig) -> str:
    """The key of a reference, and of what else a ratio of times is."""
    from ..training.device import DeviceContext

    compute = DeviceContext.of(state.config.training).device.type
    return other.key if compute == "cpu" else f"{other.key}-{compute}"


def _known(state: TrainedRun, arch: ArchConfig) -> StepRatio | None:
    known = readable_record(StepRatio, state.files.step_ratio_path(arch.key))
    if known is None or known.inputs_sha256 != _inputs_sha256(state, arch):
        return None
    return known


def _inputs_sha256(state: TrainedRun, arch: ArchConfig) -> str:
    config = state.config
    # not the reference, which follows from the workload: another one changes no winner's steps
    return fingerprint(
        arch,
        config.space,
        config.supernet,
        config.training.fingerprinted,
        config.vocab_size,
        config.max_tokens,
    )


def _turn(state: TrainedRun, other: ArchConfig, arch: ArchConfig) -> float:
    """Time of a step of the other architecture, the reference, over that of one of this."""
    from ..training.cost import CostTask, step_seconds

    config = state.config
    examples = state.family.made_up_dataset(config)
    other_s, own_s = (
        step_seconds(
            CostTask(
                partial(state.family.fresh_subnet, one, config.space, config.vocab_size, seed=1),
                config.supernet,
                config.training,
                examples,
                NUM_TIMED,
                MAX_TIME_S,
            )
        )
        for one in (other, arch)
    )
    return other_s / own_s
