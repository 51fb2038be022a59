"""The verb `evaluate`: the family's metrics on the test examples."""

from ..errors import ConfigError, StaleInputError
from ..records import Scores, ScoreTable
from ..spaces.genes import ArchConfig
from ..storage import write_record
from .context import Context, Progress
from .picking import pick
from .subnets import select_subnet, teacher_subnet, trained_alone
from .token_files import VALIDATION_TOKENS
from .trained_run import TrainedRun, trained_run
from .workloads import changed_workload


def evaluate(
    context: Context, names: tuple[str, ...] | None = None, beam: int | None = None
) -> ScoreTable:
    """Score inherited subnets on the test examples, and what these became when trained alone.

    Parameters
    ----------
    names
        As `pick` takes them; None: largest, smallest, and the winner if there is one.
    beam
        None takes the workload's.

    Raises
    ------
    ConfigError
        If there are no test examples, or the family has no beam search.
    StaleInputError
        If the run is not trained, or `winner` is asked for before a search.
    """
    from ..data.batches import ordered_batches
    from ..training.validation import validation_loss

    state = trained_run(context.run, context.progress)
    workload = changed_workload(context.config.workload, beam=beam)
    archs = _named(state, names or _usual_names(context, state), context.progress)
    if not state.data.test:
        raise ConfigError(
            "the data has no test examples; name some as `test`, or raise test_fraction"
        )
    examples = state.scored(state.data.test, workload)
    valid_set = state.validation_set(len(state.data.valid))
    valid = ordered_batches(valid_set, VALIDATION_TOKENS)
    judged = {name: select_subnet(state, arch, "inherited") for name, arch in archs.items()}
    if state.has_parts_of_teacher:
        judged["teacher"] = teacher_subnet(state)
    for name, arch in archs.items():
        alone = trained_alone(state, arch)
        judged |= {f"{name}, {other.weights}": other for other in alone}
    subnets = {}
    for done, (name, chosen) in enumerate(judged.items()):
        context.progress.update("evaluate", done, len(judged), name)
        subnets[name] = Scores(
            arch=chosen.arch,
            num_parameters=state.spec.num_parameters(chosen.arch),
            metrics=examples.evaluate(chosen.subnet),
            loss=validation_loss(chosen.subnet, valid),
            num_examples=len(examples),
            setup=examples.setup,
            weights=chosen.weights,
            subnet_sha256=chosen.card.subnet_sha256 if chosen.card else None,
        )
    if state.teacher is not None and not state.has_parts_of_teacher:
        subnets["teacher"] = state.teacher.scores(examples, state.data.test, valid_set)
    context.progress.update("evaluate", len(judged), len(judged))
    table = ScoreTable(
        supernet_sha256=state.card.supernet_sha256,
        data_sha256=state.card.data_sha256,
        workload=workload,
        subnets=subnets,
    )
    write_record(context.files.scores_path, table)
    return table


def _named(state: TrainedRun, names: tuple[str, ...], progress: Progress) -> dict[str, ArchConfig]:
    """Architectures by label; one of a file by its whole name where the label is taken."""
    shown: dict[str, ArchConfig] = {}
    for name in names:
        picked = pick(state, name, progress)
        shown[name if picked.label in shown else picked.label] = picked.arch
    return shown


def _usual_names(context: Context, state: TrainedRun) -> tuple[str, ...]:
    """Largest and smallest, and the winner if there is one of this supernet."""
    extremes = ("largest", "smallest")
    if not context.files.search_result_path.exists():
        return extremes
    try:
        state.search_result()
    except StaleInputError as error:
        context.progress.say(f"without the winner: {error}")
        return extremes
    return (*extremes, "winner")
