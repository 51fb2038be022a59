"""What a walk will take: training from a few timed steps, measuring from the device's protocol.

In: a run that nothing was done in yet. Out: a `WalkEstimate`. Nothing is written.
"""

from ..config import RunConfig
from ..config.device import DeviceProfile
from .budget import split_steps, with_budget
from .context import Context
from .finetune import CURVE_POINTS
from .summaries import StepTimes, WalkEstimate

START_S = 1.5
"""A process that loads the runtime and a model, on a slow core."""

FORWARD_SHARE = 1 / 3
"""Of a step, what a forward pass alone takes; the backward pass does twice the work."""

EXPORT_S = 15.0
"""Writing a bundle and opening it, without what its examples take."""


def estimate_walk(
    context: Context, times: StepTimes, device: DeviceProfile, num_train: int, num_valid: int
) -> WalkEstimate:
    """Add up what each verb takes.

    Parameters
    ----------
    times
        As `budget.step_times` found them.
    device
        Where subnets will be measured.
    num_train, num_valid
        How many examples there are.
    """
    config = _budgeted(context)
    spec = context.spec
    # a teacher is a network of the largest architecture
    larger = spec.num_macs(spec.space.largest) / spec.num_macs(spec.reference_arch())
    has_teacher = context.family.open_teacher is not None
    num_starts = 2 if has_teacher else 1  # `finetune` tries both
    search = config.search
    judged = search.population + search.iterations * (search.mutations + search.crossovers)
    is_exact = config.workload.is_exact
    checked = config.export.parity_examples if is_exact else config.export.score_examples
    per_example_s = FORWARD_SHARE * times.winner_s / len(context.family.made_up_dataset(config))
    # its outputs, and validations of the largest and the smallest
    labelled = larger * (num_train + num_valid) if has_teacher else 0.0
    validations = 1 + config.training.steps // config.training.validate_every
    prepare_s = per_example_s * (labelled + validations * num_valid * (larger + 1))
    alone_s = per_example_s * num_starts * CURVE_POINTS * num_valid
    first_steps_s = 0.0
    if search.finalist_steps:
        first_steps = min(search.finalist_steps, config.finetune.steps)
        first_steps_s = first_steps * times.winner_s + num_valid * per_example_s
    teacher_s = config.teacher_steps * times.winner_s * larger
    num_winners = context.config.training.num_winners
    return WalkEstimate(
        verbs={
            "train": prepare_s + teacher_s + config.training.steps * times.supernet_s,
            "profile": _measuring_s(config.profile.budget, device),
            "search": num_winners
            * (
                judged * search.eval_examples * per_example_s
                + _measuring_s(search.finalists, device)
                + search.finalists * first_steps_s
            ),
            "finetune": num_winners
            * (alone_s + num_starts * config.finetune.steps * times.winner_s),
            # torch and the bundle both answer
            "export": num_winners * (EXPORT_S + 2 * checked * per_example_s),
        },
        fixed_s=prepare_s + num_winners * alone_s,
        steps={
            "teacher": config.teacher_steps,
            "supernet": config.training.steps,
            "winner": config.finetune.steps,
        },
        times=times,
        device=device.name,
        num_winners=num_winners,
    )


def _budgeted(context: Context) -> RunConfig:
    """The run file with its budget, if it has one, turned into steps."""
    training = context.config.training
    if training.budget is None:
        return context.config
    return with_budget(context.run, split_steps(training.budget, training.num_winners)).config


def _measuring_s(num_subnets: int, device: DeviceProfile) -> float:
    """Every subnet and, between them, the reference, in all rounds; each as long as repeats may
    go on.
    """
    protocol = device.measure
    num_references = 2 + num_subnets // protocol.reference_every
    return protocol.rounds * (num_subnets + num_references) * (START_S + protocol.max_time_s)
