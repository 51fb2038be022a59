"""The verb `status`: what a run folder holds, what is stale and why, what to run next."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from ..config.units import told_limit
from ..errors import ConfigError, MosdeployError, StaleInputError
from ..family import TaskData
from ..locks import is_locked
from ..printable import figure_note, latency, milliseconds
from ..record import read_json
from ..records import (
    BegunTraining,
    DataCard,
    ScoreTable,
    SupernetCard,
)
from ..run_folder.artifact import explain_difference
from ..run_folder.budget import TRAIN, train_command
from ..run_folder.context import Context
from ..run_folder.devices import check_named
from ..run_folder.subnets import are_current, trained_weights
from ..run_folder.summaries import Part, RunStatus
from ..run_folder.trained_run import TrainedRun, trained_run
from ..storage import read_record, readable_record
from .delivered_parts import delivered_parts, verify_command
from .evaluate import scored_inputs
from .finetuned_parts import finetuned_parts
from .measured_parts import measured_parts
from .parts import RUNS, RUNS_NOW, look_at, require, subnets
from .proposed_commands import (
    last_training,
    refused_training,
    search_command,
)
from .replacing import last_begun, stopped_beside, stopped_state
from .report import report_inputs
from .tokenizing import has_tokenizer_of

SEARCH = "mosdeploy search"


def status(context: Context, *, read_data: bool = True) -> RunStatus:
    """Look at everything in a run folder."""
    look = _Look(context, read_data)
    parts = tuple(look.parts())
    return RunStatus(
        root=str(context.files.root), parts=parts, next_command=look.next_command(parts)
    )


def following(context: Context) -> str | None:
    """What a verb proposes at its end: what `status` would, without reading the data again."""
    return status(context, read_data=False).next_command


@dataclass(frozen=True)
class _Look:
    """One look at a run folder."""

    context: Context
    read_data: bool

    def parts(self) -> Iterator[Part]:
        """Every part, in the order of the walk; of the device only if it is unknown."""
        yield from self._device()
        yield look_at("data", "", self._data, None)
        yield look_at("tokenizer", "", self._tokenizer, self._train_command)
        train = None if self._refused else self._train_command
        yield look_at("supernet", "", self._supernet, train)
        yield from measured_parts(self.context)
        yield look_at("search", "", self._search, self._search_command)
        yield from finetuned_parts(self.context, lambda: self._trained)
        yield self._scored()
        yield from delivered_parts(self.context, lambda: self._trained)
        yield look_at("report", "", self._report, "mosdeploy report")

    def next_command(self, parts: tuple[Part, ...]) -> str | None:
        """The first thing to make, or to make again, that the walk needs; None where the data
        cannot be read or a stopped training is another one, which a command would refuse, while a
        training runs, and while that is measured which it needs next.
        """
        if any(part.what == "data" and part.state == "stale" for part in parts):
            return None
        if any(part.detail == RUNS for part in parts) or self._refused:
            return None
        needed = (x for x in parts if x.state in ("missing", "stale"))
        part = next((x for x in needed if x.command or x.detail.endswith(RUNS_NOW)), None)
        if part is not None and part.command is None:
            return None  # what is measured now comes first
        command = None if part is None else part.command
        if command is None:
            return verify_command(self.context)
        if command == SEARCH:
            return search_command(self.context) or command
        return command

    @property
    def _search_command(self) -> str:
        """What finds an architecture; of a task, what takes that of the supernet's folder."""
        return self.context.run.supernet_command if self._is_served else SEARCH

    @property
    def _is_served(self) -> bool:
        """Whether it is the folder of a task, where neither a training nor a search is run."""
        return self.context.config.served_by is not None

    # -- what is trained

    @cached_property
    def _made(self) -> BegunTraining | SupernetCard | None:
        """What the last training was for: the one that is not over, else the supernet's."""
        return last_training(self.context, read_data=self.read_data)

    @cached_property
    def _refused(self) -> str:
        """Why a training that was stopped cannot go on; empty where it can, or there is none."""
        files = self.context.files
        is_stopped = stopped_state(files) or stopped_state(files.beside)
        if not is_stopped or not isinstance(self._made, BegunTraining):
            return ""
        return refused_training(self.context, self._made, read_data=self.read_data)

    @cached_property
    def _train_command(self) -> str:
        """What goes on with that training, or repeats it; of a task, what makes its folder."""
        if self._is_served:
            return self.context.run.supernet_command
        return train_command(None if self._made is None else self._made.budget)

    @cached_property
    def _state(self) -> TrainedRun | None:
        """The trained run; None where there is none that counts."""
        with contextlib.suppress(MosdeployError):
            return trained_run(self.context.run)
        return None

    @property
    def _trained(self) -> TrainedRun:
        if self._state is None:
            raise StaleInputError("the supernet that it was made from does not count any more")
        return self._state

    def _device(self) -> Iterator[Part]:
        try:
            check_named(self.context)
        except ConfigError as error:
            name = self.context.config.device or ""
            known = "mosdeploy devices list"
            yield Part(what="device", name=name, state="missing", detail=str(error), command=known)

    @cached_property
    def _loaded(self) -> TaskData:
        try:
            return self._trained.data  # where it is what was trained on, it is read once
        except StaleInputError:
            return self.context.family.load_data(self.context.config, self.context.run.data_root)

    def _data(self) -> str:
        if not self.read_data:
            return "not read"
        data = self._loaded
        splits = {"train": data.train, "valid": data.valid, "test": data.test}
        counts = [f"{len(examples):,} {name}" for name, examples in splits.items()]
        return ", ".join([*counts, f"{sum(data.dropped.values()):,} dropped"])

    def _tokenizer(self) -> str:
        files = self.context.files
        require(files.tokenizer_path, files.data_card_path)
        card = read_record(DataCard, files.data_card_path, TRAIN)
        is_known = self._state is not None and self.read_data
        if is_known and not has_tokenizer_of(self.context, self._loaded, files):
            raise StaleInputError("it was made from other data, or with another vocab_size")
        return f"{card.vocab_size:,} tokens"

    def _supernet(self) -> str:
        files = self.context.files
        if is_locked(files.supernet_dir):
            raise StaleInputError(RUNS)
        begun = last_begun(files)
        if any(stopped_state(x) for x in (files, files.beside)):
            if begun is None:
                same = "the same command, with the same options,"
                raise StaleInputError(f"a training was stopped; {same} goes on")
            if isinstance(self._made, BegunTraining):
                if self._refused:
                    raise StaleInputError(self._refused)
                raise StaleInputError(f"a training was stopped; `{self._train_command}` goes on")
        if stopped_state(files.beside) is None:
            return self._standing()
        try:
            return f"{self._standing()}; {stopped_beside(files)}"
        except StaleInputError as error:
            raise StaleInputError(f"{error}; {stopped_beside(files)}") from error

    def _standing(self) -> str:
        """What is there of the supernet itself."""
        require(self.context.files.supernet_card_path)
        state = trained_run(self.context.run)
        if self.read_data:
            self._trained.data  # noqa: B018  checks what the supernet was trained from
        card = state.card
        losses = f"{card.largest_loss:.3f} (largest), {card.smallest_loss:.3f} (smallest)"
        return f"{card.steps:,} steps, validation loss {losses}"

    # -- what was found, and what became of it

    def _search(self) -> str:
        require(self.context.files.search_result_path)
        result = self._trained.search_result()
        winner = result.winner
        figure = figure_note(result.statistic)
        words = [f"winner {winner.arch.key[:8]}", "not measured"]
        if winner.measured_ms is not None:
            words[1] = f"{milliseconds(winner.measured_ms)}{figure} on {result.device}"
        limits = result.limits.model_dump(exclude_none=True)
        if (most_ms := limits.pop("max_latency_ms", None)) is not None:
            words.append(f"limit {latency(most_ms)}{figure}")
        words += [told_limit(name, most) for name, most in limits.items()]
        return ", ".join(words)

    def _scored(self) -> Part:
        card = readable_record(DataCard, self.context.files.data_card_path)
        if card is not None and card.num_test == 0:
            detail = "there are no test examples"
            return Part(what="scores", state="unused", detail=detail)
        return look_at("scores", "", self._scores, "mosdeploy evaluate")

    def _scores(self) -> str:
        path = self.context.files.scores_path
        require(path)
        table = read_record(ScoreTable, path, "mosdeploy evaluate")
        if table.supernet_sha256 != self._trained.card.supernet_sha256:
            raise StaleInputError("of an earlier supernet")
        if table.inputs_sha256 != scored_inputs(self._trained, self.context.config.workload):
            raise StaleInputError("for another [workload] or [export], or by another version")
        earlier = [name for name, x in table.subnets.items() if not are_current(self._trained, x)]
        if earlier:
            raise StaleInputError(f"of earlier weights: {'; '.join(earlier)}")
        if missing := self._unscored(table):
            raise StaleInputError(f"without the {missing} winner")
        return f"of {subnets(len(table.subnets))}"

    def _unscored(self, table: ScoreTable) -> str:
        """Which weights of the winner have no scores; empty where all have, or there is none."""
        with contextlib.suppress(MosdeployError):
            winner = self._trained.search_result().winner.arch
            scored = {x.weights for x in table.subnets.values() if x.arch == winner}
            wanted = ("inherited", *trained_weights(self._trained, winner))
            return next((weights for weights in wanted if weights not in scored), "")
        return ""

    def _report(self) -> str:
        page = self.context.files.report_page_path
        require(page)
        # not as a record, which would import the libraries that draw
        written = read_json(self.context.files.report_path).get("inputs", {})
        if changed := explain_difference(written, report_inputs(self.context.files)):
            raise StaleInputError(changed)
        return str(page)
