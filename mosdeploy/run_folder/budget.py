"""How the steps of a walk are shared between the supernet and its winners."""

from dataclasses import replace

from ..config.sections import TrainingConfig
from ..config.units import write_budget_s
from ..family import supernet_share
from ..records import TrainingBudget
from .run import Run

TRAIN = "mosdeploy train"


def split_steps(steps: int, num_winners: int = 1) -> TrainingBudget:
    """Share steps out: some to the supernet, the rest to the winners in equal parts."""
    supernet_steps = max(1, round(supernet_share(num_winners) * steps))
    return TrainingBudget(
        num_winners=num_winners,
        supernet_steps=supernet_steps,
        winner_steps=max(1, (steps - supernet_steps) // num_winners),
    )


def train_command(budget: TrainingBudget | None) -> str:
    """Return the command that trains a supernet with this budget."""
    time_s = None if budget is None else budget.time_s
    return TRAIN if time_s is None else f"{TRAIN} --time {write_budget_s(time_s)}"


def configured_budget(training: TrainingConfig) -> TrainingBudget | None:
    """Return the budget in the run file; None if it sets the steps themselves."""
    if training.budget is None:
        return None
    return split_steps(training.budget, training.num_winners)


def current_budget(made: TrainingBudget | None, training: TrainingConfig) -> TrainingBudget | None:
    """The budget that a supernet's walk has now: the time that its training was given, else what
    the run file says.
    """
    return made if made is None or made.time_s is not None else configured_budget(training)


def with_budget(run: Run, budget: TrainingBudget | None) -> Run:
    """A run whose supernet and winners are trained for the steps of a budget."""
    if budget is None:
        return run
    config = run.config
    training = config.training
    # how often it is validated, a run file says for its own budget, if it has one
    planned = configured_budget(training)
    num_planned = training.steps if planned is None else planned.supernet_steps
    interval = round(training.validate_every * budget.supernet_steps / num_planned)
    changes = {
        "training": training.model_copy(
            update={
                "steps": budget.supernet_steps,
                "warmup_steps": warmup_steps(budget, training),
                "validate_every": max(1, interval),
                "budget": None,
                "num_winners": 1,
            }
        ),
        "finetune": config.finetune.model_copy(
            update={
                "steps": budget.winner_steps,
                "same_time": config.finetune.same_time or budget.same_time,
            }
        ),
    }
    return replace(run, config=config.model_copy(update=changes))


def warmup_steps(budget: TrainingBudget, training: TrainingConfig) -> int:
    """Those that were kept, else the share of the supernet's steps that the run file says."""
    if budget.warmup_steps is not None:
        return budget.warmup_steps
    return round(training.warmup_steps * budget.supernet_steps / training.steps)
