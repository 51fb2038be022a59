"""The verb `evaluate`: the family's metrics on the test examples."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, MosdeployError, StaleInputError
from ..family import ScoredExamples
from ..locks import locked
from ..records import Scores, ScoreTable
from ..run_folder.catalog import scored_inputs
from ..run_folder.context import Context, Progress
from ..run_folder.picking import pick
from ..run_folder.subnets import (
    SelectedSubnet,
    are_current,
    select_subnet,
    teacher_subnet,
    trained_alone,
)
from ..run_folder.trained_run import TrainedRun, trained_run
from ..run_folder.workloads import changed_workload
from ..spaces.genes import ArchConfig
from ..spaces.spec import Workload
from ..storage import readable_record, write_record
from .chunked import scored_in_chunks

if TYPE_CHECKING:
    from ..data.batches import Dataset

WAIT_S = 10.0
"""For how long another command that writes its scores is waited for."""


def evaluate(
    context: Context, names: tuple[str, ...] | None = None, beam: int | None = None
) -> ScoreTable:
    """Score inherited subnets on the test examples, and what these became when trained alone; what
    an earlier or a killed run scored is not scored again, and stays in the run folder beside it,
    as does what another command scores meanwhile.
    """
    from ..training.device import torch_threads

    state = trained_run(context.run, context.progress)
    workload = changed_workload(context.config.workload, beam=beam)
    archs = _named(state, names or _usual_names(context, state), context.progress)
    if not state.data.test:
        raise ConfigError(
            "the data has no test examples; name some as `test`, or raise test_fraction"
        )
    examples = state.scored(state.data.test, workload)
    judged: dict[str, SelectedSubnet | None] = {}
    for name, arch in archs.items():
        judged[name] = select_subnet(state, arch, "inherited")
    if state.has_parts_of_teacher:
        judged["teacher"] = teacher_subnet(state)
    for name, arch in archs.items():
        alone = trained_alone(state, arch)
        judged |= {f"{name}, {other.weights}": other for other in alone}
    if state.teacher is not None and not state.has_parts_of_teacher:
        judged["teacher"] = None  # given: no subnet
    with torch_threads(context.config.training.threads):
        return _Evaluation(context, state, examples, workload).run(judged)


@dataclass(frozen=True)
class _Evaluation:
    """One table of scores, that of a workload; each is on disk before the next is computed."""

    context: Context
    state: TrainedRun
    examples: ScoredExamples
    workload: Workload

    def run(self, judged: Mapping[str, SelectedSubnet | None]) -> ScoreTable:
        """Score subnets by name, and the teacher that was given for None, but for those that a run
        before this one scored.
        """
        known = {self._key_of(scores): scores for scores in self._kept().values()}
        scores = {name: known[_key(x)] for name, x in judged.items() if _key(x) in known}
        if len(scores) == len(judged):
            self.context.progress.say("already scored on the same examples")
        for done, (name, chosen) in enumerate(judged.items()):
            self.context.progress.update("evaluate", done, len(judged), name)
            if name not in scores:
                key = _key(chosen)  # a winner may be the largest too
                if key not in known:
                    told = partial(self._tell, done, len(judged), name)
                    known[key] = self._score(chosen, scored_in_chunks(self.examples, told))
                scores[name] = known[key]
                self._add(scores)
        self.context.progress.update("evaluate", len(judged), len(judged))
        self._add(scores)
        return self._table({name: scores[name] for name in judged})

    def _score(self, chosen: SelectedSubnet | None, examples: ScoredExamples) -> Scores:
        state = self.state
        if chosen is None:
            assert state.teacher is not None  # it is asked for by name
            return state.teacher.scores(examples, state.data.test, self._valid_set)
        return Scores(
            arch=chosen.arch,
            num_parameters=state.spec.num_parameters(chosen.arch),
            metrics=examples.evaluate(chosen.subnet),
            loss=self._loss(chosen.subnet),
            num_examples=len(examples),
            setup=examples.setup,
            weights=chosen.weights,
            subnet_sha256=chosen.card.subnet_sha256 if chosen.card else None,
        )

    def _loss(self, subnet: Any) -> float:
        from ..data.batches import ordered_batches
        from ..training.validation import validation_loss

        return validation_loss(subnet, ordered_batches(self._valid_set))

    @cached_property
    def _valid_set(self) -> "Dataset":
        return self.state.validation_set(len(self.state.data.valid))

    def _tell(self, done: int, total: int, name: str, answered: int, num_examples: int) -> None:
        note = f"{name}: {answered:,} of {num_examples:,} examples"
        self.context.progress.update("evaluate", done, total, note)

    def _add(self, scores: dict[str, Scores]) -> None:
        """Write scores beside those in the folder, which another command may have added to."""
        path = self._path
        busy = MosdeployError(
            f"another `mosdeploy evaluate` has held {path} for {WAIT_S:g} s; wait for it, or stop "
            "it, and run the same command again"
        )
        with locked(path, busy, WAIT_S):
            write_record(path, self._table(self._kept() | scores))

    def _table(self, scores: Mapping[str, Scores]) -> ScoreTable:
        card = self.state.card
        return ScoreTable(
            supernet_sha256=card.supernet_sha256,
            data_sha256=card.data_sha256,
            workload=self.workload,
            inputs_sha256=scored_inputs(self.state, self.workload),
            subnets=dict(scores),
        )

    @property
    def _path(self) -> Path:
        files = self.context.files
        label = self.workload.label
        is_usual = label == self.context.config.workload.label
        return files.scores_path if is_usual else files.other_scores_path(label)

    def _kept(self) -> dict[str, Scores]:
        """What an earlier run scored on the same examples in the same way, by name; not of weights
        that were trained again since.
        """
        table = readable_record(ScoreTable, self._path)
        if table is None or table.inputs_sha256 != scored_inputs(self.state, self.workload):
            return {}
        return {name: x for name, x in table.subnets.items() if are_current(self.state, x)}

    def _key_of(self, scores: Scores) -> tuple[str, ...]:
        """The key of what was scored."""
        if scores.weights == "teacher" and not self.state.has_parts_of_teacher:
            return ("teacher",)
        return (scores.weights, scores.arch.key, scores.subnet_sha256 or "")


def _key(chosen: SelectedSubnet | None) -> tuple[str, ...]:
    """What tells weights from others of the same supernet."""
    if chosen is None:
        return ("teacher",)
    return (chosen.weights, chosen.arch.key, chosen.card.subnet_sha256 if chosen.card else "")


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
