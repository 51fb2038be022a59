"""How many steps a time is enough for: a few of them are timed."""

import math
import os
from dataclasses import replace
from functools import partial

from ...errors import ConfigError
from ...family import supernet_share
from ...printable import plain
from ...records import SupernetCard, TrainingBudget
from ...run_folder.budget import configured_budget, split_steps, warmup_steps
from ...run_folder.context import Context
from ...run_folder.summaries import StepTimes
from ...storage import fingerprint, readable_record, write_record
from ...workspace import Workspace

NUM_TIMED = 10
"""Steps of either kind that are timed to tell what a time is enough for."""
LEAST_STEPS = 20
"""What a time must be enough for, for the supernet and for each winner in the mean; fewer would
replace a trained supernet by one that has learnt nothing.
"""
MARGIN = 1.2
"""Above the least, how much time is asked for: the steps of the next try are timed anew."""
TIMING_SHARE = 0.05
"""Of that time, what timing them may take; two of either kind are timed in any case."""


def training_budget(context: Context, time_s: float | None) -> TrainingBudget | None:
    """The budget that a training is given, by an option or in the run file; None for the steps that
    are written there.
    """
    training = context.config.training
    if time_s is None:
        return configured_budget(training)
    inputs = _time_inputs(context, time_s)
    found = _known(context.files, inputs)
    if found is None:
        found = _timed(context, time_s)
        warmup = warmup_steps(found, training)
        found = found.model_copy(update={"inputs_sha256": inputs, "warmup_steps": warmup})
        write_record(context.files.budget_path(inputs), found)
    context.progress.say(
        f"{plain(time_s)} s: {found.supernet_steps:,} steps of the supernet and "
        f"{found.winner_steps:,} of each winner, expected from {found.supernet_step_s:.3f} s and "
        f"{found.winner_step_s:.3f} s a step; measuring and searching come on top"
    )
    return found


def tried_budget(context: Context, time_s: float | None) -> TrainingBudget | None:
    """The same for a training that is not begun: nothing is written, and a time is tried anew."""
    if time_s is None:
        return configured_budget(context.config.training)
    return _timed(context, time_s)


def split_time(
    time_s: float, num_winners: int, supernet_step_s: float, winner_step_s: float
) -> TrainingBudget:
    """Share a time out, from what a step of either kind takes."""
    share = supernet_share(num_winners)
    mean_step_s = share * supernet_step_s + (1 - share) * winner_step_s
    steps = int(time_s / mean_step_s)
    least = LEAST_STEPS * (num_winners + 1)
    if steps < least:
        raise ConfigError(
            f"{plain(time_s)} s are not enough: a step of the supernet takes "
            f"{supernet_step_s:.2f} s here, one of a winner {winner_step_s:.2f} s, and {least} "
            f"steps are the least; give --time {math.ceil(MARGIN * least * mean_step_s)}s or more, "
            "or lower training.tokens_per_batch"
        )
    return split_steps(steps, num_winners).model_copy(
        update={
            "time_s": time_s,
            "supernet_step_s": supernet_step_s,
            "winner_step_s": winner_step_s,
            "same_time": True,
        }
    )


def _timed(context: Context, time_s: float) -> TrainingBudget:
    """Train both kinds of network for a few steps on made-up examples."""
    times = time_steps(context, max_time_s=TIMING_SHARE * time_s)
    return split_time(
        time_s,
        context.config.training.num_winners,
        supernet_step_s=times.supernet_s,
        winner_step_s=times.winner_s,
    )


def time_steps(
    context: Context, num_timed: int = NUM_TIMED, max_time_s: float = math.inf
) -> StepTimes:
    """Time a few steps of either kind on made-up examples; say so if other programs slow
    them down.
    """
    from ...training.cost import CostTask, step_seconds

    config = context.config
    task = CostTask(
        fresh=partial(context.family.fresh_supernet, config.space, config.vocab_size, seed=1),
        supernet=config.supernet,
        training=config.training,
        examples=context.family.made_up_dataset(config),
        num_timed=num_timed,
        max_time_s=max_time_s / 2,
    )
    # the winner is not known yet: one of median work stands for it
    arch = context.spec.reference_arch()
    alone = partial(context.family.fresh_subnet, arch, config.space, config.vocab_size, seed=1)
    if told := busy():
        context.progress.say(told)
    context.progress.say(f"timing up to {num_timed} steps of the supernet and of a subnet alone")
    return StepTimes(
        supernet_s=step_seconds(task), winner_s=step_seconds(replace(task, fresh=alone))
    )


def busy() -> str | None:
    """That more programs want to run here than there are cores, if so and if the system tells."""
    cores = os.cpu_count()
    if cores is None or not hasattr(os, "getloadavg"):
        return None
    load = os.getloadavg()[0]
    if load <= cores:
        return None
    return (
        f"other programs run here (load average {load:.1f}, {cores} cores): steps take longer "
        "than they would on an idle machine"
    )


def _time_inputs(context: Context, time_s: float) -> str:
    """Fingerprint of what the steps that a time is enough for depend on."""
    config = context.config
    # the time takes the place of the steps and the budget in the run file
    unused = {"steps": 1, "budget": None}
    return fingerprint(
        time_s,
        config.space,
        config.supernet,
        config.training.fingerprinted.model_copy(update=unused),
        config.vocab_size,
        config.max_tokens,
        config.workload,
    )


def _known(files: Workspace, inputs_sha256: str) -> TrainingBudget | None:
    """What an earlier run made of the same time."""
    card = readable_record(SupernetCard, files.supernet_card_path)
    kept = readable_record(TrainingBudget, files.budget_path(inputs_sha256))
    for found in (kept, card.budget if card else None):
        if found is not None and found.inputs_sha256 == inputs_sha256:
            return found
    return None
