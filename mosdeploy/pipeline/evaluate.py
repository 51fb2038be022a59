"""The verb `evaluate`: the family's metrics on the test examples."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError, MosdeployError, StaleInputError
from ..family import ScoredExamples
from ..records import Scores, ScoreTable
from ..run_folder.catalog import scored_inputs
from ..run_folder.context import Context, Progress
from ..run_folder.options import EvaluateOptions
from ..run_folder.subnets import (
    SelectedSubnet,
    are_current,
    pick,
    select_subnet,
    trained_alone,
)
from ..run_folder.trained_run import TrainedRun, trained_run
from ..spaces.genes import ArchConfig
from ..spaces.spec import Workload
from ..storage import locked, readable_record, write_record
from .chunked import scored_in_chunks

WAIT_S = 10.0
"""How long another command that writes its scores is waited for."""

Key = tuple[str, str, str | None]
"""Kind of the weights, key of the architecture, digest of weights that were trained alone."""


def evaluate(context: Context, options: EvaluateOptions | None = None) -> ScoreTable:
    """Score inherited subnets on the test examples, and those that were trained alone.

    Each score is on disk before the next is computed; a second call computes what is missing.
    """
    from ..training.device import torch_threads

    options = options or EvaluateOptions()
    state = trained_run(context.run, context.progress)
    workload = context.config.workload.changed({"beam": options.beam})
    archs = _named(state, options.names or _usual_names(context, state), context.progress)
    if not state.data.test:
        raise ConfigError(
            "the data has no test examples; name some as `test`, or raise test_fraction"
        )
    path = state.files.scores_path
    if workload.label != context.config.workload.label:
        path = state.files.other_scores_path(workload.label)
    file = _ScoreFile(state, workload, path, scored_inputs(state, workload))
    file.add({})  # a folder that cannot be written fails here, not after the first score
    weights: dict[str, SelectedSubnet | None] = {}
    for name, arch in archs.items():
        weights[name] = select_subnet(state, arch, "inherited")
    if state.has_parts_of_teacher:
        weights["teacher"] = SelectedSubnet(state, context.config.space.largest, "teacher")
    for name, arch in archs.items():
        for alone in trained_alone(state, arch):
            weights[f"{name}, {alone.weights}"] = alone
    if state.teacher is not None and not state.has_parts_of_teacher:
        weights["teacher"] = None  # an external teacher is no subnet
    with torch_threads(context.config.training.threads):
        return _score_missing(context.progress, file, weights)


@dataclass(frozen=True)
class _ScoreFile:
    """The table of scores under one workload, which other commands write too."""

    state: TrainedRun
    workload: Workload
    path: Path
    inputs_sha256: str

    def read(self) -> dict[str, Scores]:
        """Return the scores by name that still count."""
        table = readable_record(ScoreTable, self.path)
        if table is None or table.inputs_sha256 != self.inputs_sha256:
            return {}
        return {name: x for name, x in table.subnets.items() if are_current(self.state, x)}

    def add(self, scores: Mapping[str, Scores]) -> None:
        """Write scores beside those that are there."""
        busy = MosdeployError(
            f"another `mosdeploy evaluate` has held {self.path} for {WAIT_S:g} s; wait for it, or "
            "stop it, and run the same command again"
        )
        with locked(self.path, busy, WAIT_S):
            write_record(self.path, self.table({**self.read(), **scores}))

    def table(self, scores: Mapping[str, Scores]) -> ScoreTable:
        """Make a table of some scores."""
        return ScoreTable(
            supernet_sha256=self.state.card.supernet_sha256,
            data_sha256=self.state.card.data_sha256,
            workload=self.workload,
            inputs_sha256=self.inputs_sha256,
            subnets=dict(scores),
        )


def _score_missing(
    progress: Progress, file: _ScoreFile, weights: Mapping[str, SelectedSubnet | None]
) -> ScoreTable:
    """Score what has no scores yet; None stands for an external teacher."""
    state = file.state
    examples = state.scored(state.data.test, file.workload)
    kept = file.read()
    known = {_key(x): x for x in kept.values()}
    found: dict[str, Scores] = {}
    num_scored = 0
    for done, (name, chosen) in enumerate(weights.items()):

        def tell(answered: int, total: int, name: str = name, done: int = done) -> None:
            note = f"{name}: {answered:,} of {total:,} examples" if total else name
            progress.update("evaluate", done, len(weights), note)

        tell(0, 0)
        # one subnet may have two names, as a winner that is the largest too
        scores = kept.get(name) if chosen is None else known.get(_key(chosen))
        if scores is None:
            scores = _score(state, chosen, scored_in_chunks(examples, tell))
            known[_key(scores)] = scores
            num_scored += 1
        found[name] = scores
        file.add(found)
    progress.update("evaluate", len(weights), len(weights))
    if not num_scored:
        progress.say("already scored on the same examples")
    return file.table(found)


def _score(state: TrainedRun, chosen: SelectedSubnet | None, examples: ScoredExamples) -> Scores:
    from ..data.batches import ordered_batches
    from ..training.trainer import validation_loss

    valid = state.validation_set(len(state.data.valid))
    if chosen is None:
        assert state.teacher is not None
        return state.teacher.scores(examples, state.data.test, valid)
    return Scores(
        arch=chosen.arch,
        num_parameters=state.spec.num_parameters(chosen.arch),
        metrics=examples.evaluate(chosen.subnet),
        loss=validation_loss(chosen.subnet, ordered_batches(valid)),
        num_examples=len(examples),
        setup=examples.setup,
        weights=chosen.weights,
        subnet_sha256=chosen.card.subnet_sha256 if chosen.card else None,
    )


def _key(found: Scores | SelectedSubnet) -> Key:
    """Tell weights from others of the same supernet."""
    if isinstance(found, Scores):
        return found.weights, found.arch.key, found.subnet_sha256
    return found.weights, found.arch.key, found.card.subnet_sha256 if found.card else None


def _named(state: TrainedRun, names: tuple[str, ...], progress: Progress) -> dict[str, ArchConfig]:
    """Return architectures by label; one of a file by its path where the label is taken."""
    found: dict[str, ArchConfig] = {}
    for name in names:
        picked = pick(state, name, progress)
        found[name if picked.label in found else picked.label] = picked.arch
    return found


def _usual_names(context: Context, state: TrainedRun) -> tuple[str, ...]:
    """Return largest, smallest, and the winner if there is one of this supernet."""
    extremes = ("largest", "smallest")
    if not context.files.search_result_path.exists():
        return extremes
    try:
        state.search_result()
    except StaleInputError as error:
        context.progress.say(f"without the winner: {error}")
        return extremes
    return (*extremes, "winner")
