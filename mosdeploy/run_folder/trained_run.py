"""A trained run: what the verbs after `train` compute with."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from ..config import RunConfig
from ..errors import ConfigError, StaleInputError
from ..family import Family, ScoredExamples, TaskData, Teacher, Tokenizer
from ..record import parse, read_json
from ..records import SearchResult, SupernetCard
from ..spaces import ModelSpec
from ..spaces.genes import ArchConfig
from ..spaces.spec import Workload
from ..storage import read_errors, read_record, sha256_file
from ..workspace import Workspace
from .artifact import DIGEST, explain_difference, settings
from .budget import current_budget, train_command, with_budget
from .context import SILENT, Progress
from .run import Run
from .teacher import drawn, finished_teacher, training_examples, validation_examples

if TYPE_CHECKING:
    from ..data.batches import Dataset
    from ..search.constraints import Cost
    from ..supernet.supernet import Supernet


@dataclass(frozen=True)
class TrainedRun:
    """A run folder, the card of the supernet in it, and who is told how far labelling is."""

    run: Run
    card: SupernetCard
    progress: Progress = SILENT
    _graph_options: dict[Workload, Any] = field(default_factory=dict, init=False, compare=False)

    @property
    def config(self) -> RunConfig:
        """The run file."""
        return self.run.config

    @property
    def files(self) -> Workspace:
        """Names of the files in the run folder."""
        return self.run.workspace

    @property
    def family(self) -> Family:
        """The kind of model."""
        return self.run.family

    @property
    def spec(self) -> ModelSpec:
        """The model that latency and cost are asked of, with the vocabulary that was trained."""
        return ModelSpec(self.config.space, self.card.vocab_size, self.config.workload)

    @cached_property
    def net(self) -> "Supernet":
        """The supernet, in eval mode."""
        from ..supernet.checkpoint import load_supernet

        path = self.files.supernet_path
        net = load_supernet(path, type(self.config.space), self.family.fresh_supernet)
        # after reading: a training that ended since the card was read has put another file there
        self._check(self.files.supernet_path, self.card.supernet_sha256)
        return net

    def _check(self, path: Path, sha256: str) -> None:
        if sha256_file(path) != sha256:
            raise StaleInputError(
                f"{path} has changed while this command ran: another training has ended; run the "
                "same command again"
            )

    @cached_property
    def data(self) -> TaskData:
        """The examples that the supernet was trained, or is to be judged, on."""
        data = self.family.load_data(self.config, self.files.root)
        changed = explain_difference(self.card.inputs, supernet_inputs(self.run, data.sha256))
        if changed:
            note = self.config.data_note if "the data has changed" in changed else ""
            raise StaleInputError(
                f"the supernet was trained from something else: {changed}{note}; restore that, or "
                f"run `{self._train_command}` again"
            )
        return data

    @cached_property
    def training_examples(self) -> Sequence[Any]:
        """What the supernet was trained on: the data's examples, or a teacher's answers to them."""
        return training_examples(self.run, self.data, self.progress)

    @property
    def _train_command(self) -> str:
        """What makes the supernet again, for what it was trained for."""
        return train_command(self.card.budget)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the supernet was trained with."""
        tokenizer = self.family.load_tokenizer(self.files.tokenizer_path)
        self._check(self.files.tokenizer_path, self.card.tokenizer_sha256)
        return tokenizer

    def tokenizer_bytes(self) -> bytes:
        """The file of that tokenizer."""
        path = self.files.tokenizer_path
        with read_errors(path):
            content = path.read_bytes()
        self._check(path, self.card.tokenizer_sha256)
        return content

    def training_validation_set(self) -> "Dataset":
        """The examples that trainings are validated on."""
        return self.tokenized(validation_examples(self.run, self.data))

    def validation_set(self, num_examples: int) -> "Dataset":
        """So many of the validation examples, drawn the same way in every run."""
        return self.tokenized(drawn(self.data.valid, num_examples))

    @cached_property
    def teacher(self) -> Teacher | None:
        """What the supernet learned from besides its data, if the family has that."""
        try:
            return finished_teacher(self.run, self.card.data_sha256, self.progress)
        except StaleInputError:
            self.data  # noqa: B018  tells what was changed since, if that is why
            raise

    @property
    def has_parts_of_teacher(self) -> bool:
        """Whether there is a teacher whose parts subnets can start from."""
        return self.teacher is not None and self.teacher.is_largest

    def tokenized(self, examples: Sequence[Any]) -> "Dataset":
        """Examples as networks are trained on and judged by them, labelled by the teacher."""
        dataset = self.family.tokenize(self.tokenizer, examples, self.config)
        return dataset if self.teacher is None else self.teacher.label(dataset, examples)

    def graph_options(self, workload: Workload) -> Any:
        """The options of a bundle's graph; what is learned from the data for it, is learned once
        for all precisions.
        """
        kind = workload.model_copy(update={"precision": "fp32"})
        if kind not in self._graph_options:
            options = self.family.graph_options(self.config, kind, self.data, self.tokenizer)
            self._graph_options[kind] = options
        return self._graph_options[kind]

    def scored(
        self,
        examples: Sequence[Any],
        workload: Workload,
        limit: int | None = None,
        options: Any = None,
    ) -> ScoredExamples:
        """Examples with the family's metrics, answered as a workload says."""
        further = {} if self.teacher is None else {"teacher": self.teacher}
        if options is not None:
            further["options"] = options
        return self.family.scored_examples(
            self.tokenizer, examples, self.config, workload, limit, **further
        )

    def subnet(self, arch: ArchConfig) -> Any:
        """An inherited subnet: a plain torch module."""
        from ..supernet.supernet import extract

        return extract(self.net, arch)

    def arch(self, name: str) -> ArchConfig:
        """Which architecture a name means: largest, smallest, winner, the key of a finalist that
        kept the limits or of a member of the front, or a JSON file.
        """
        space = self.config.space
        if name in ("largest", "smallest"):
            return space.largest if name == "largest" else space.smallest
        if name == "winner":
            return self.search_result().winner.arch
        if (search := self.search_of(name)) is not None:
            return next(c.arch for c in search.deliverable if c.arch.key == name)
        if not name or not Path(name).is_file():  # no device, which may never end
            raise ConfigError(
                f"'{name}' is no architecture: write winner, largest, smallest, a number of the "
                "search's front, a latency such as 18ms, the key of a finalist or the name of a "
                "JSON file"
            )
        arch = parse(space.arch_type, read_json(Path(name)), name)
        space.check(arch)
        return arch

    def pick_option(self, arch: ArchConfig) -> str:
        """The option that picks an architecture where none picks the winner; empty for the winner,
        and for one that has no name.
        """
        with contextlib.suppress(StaleInputError):
            if self.search_result().winner.arch == arch:
                return ""
        for name in ("largest", "smallest"):
            if self.arch(name) == arch:
                return f" --pick {name}"
        return "" if self.search_of(arch.key) is None else f" --pick {arch.key}"

    def search_of(self, key: str) -> SearchResult | None:
        """The search that measured the architecture of a key and found that it keeps the limits, or
        has it on its front; None if there is none.
        """
        try:
            result = self.search_result()
        except StaleInputError:
            return None
        return result if any(x.arch.key == key for x in result.deliverable) else None

    @property
    def searched_device(self) -> str | None:
        """The device that was searched for; None without a search that counts."""
        try:
            return self.search_result().device
        except StaleInputError:
            return None

    @property
    def weighs_time(self) -> bool:
        """Whether `same_time` of [finetune] can change what a search chooses."""
        finetune = self.config.finetune
        return finetune.same_time and finetune.inherited_share < 1

    def search_result(self) -> SearchResult:
        """What `search` found in this supernet."""
        path = self.files.search_result_path
        command = "mosdeploy search"
        result = read_record(SearchResult, path, command)
        if result.supernet_sha256 != self.card.supernet_sha256:
            raise StaleInputError(f"{path} was found in another supernet; run `{command}` again")
        if result.workload != self.config.workload:
            raise StaleInputError(
                f"{path} was found for another workload than [workload] says now; restore it, or "
                f"run `{command}` again"
            )
        if result.weighs_time != self.weighs_time:
            raise StaleInputError(
                f"{path} was found before `same_time` of [finetune], or what it depends on, was "
                f"changed; restore it, or run `{command}` again"
            )
        return result


def trained_run(run: Run, progress: Progress = SILENT) -> TrainedRun:
    """Open a trained run."""
    card = run.supernet_card()
    budget = current_budget(card.budget, run.config.training)
    return TrainedRun(with_budget(run, budget), card, progress)


def supernet_inputs(run: Run, data_sha256: str | None) -> dict[str, JsonValue]:
    """What a supernet is made from; without the data if they were not read."""
    config = run.config
    found: dict[str, JsonValue] = {
        "vocab_size": config.vocab_size,
        "max_tokens": config.max_tokens,
        **settings(config.space, "space"),
        **settings(config.supernet, "supernet"),
        **settings(config.training.fingerprinted, "training"),
    }
    for section, record in config.data_sections.items():
        found |= settings(record, section)
    if config.supernet_from is not None:
        base = Workspace(run.workspace.root / config.supernet_from)
        card = read_record(SupernetCard, base.supernet_card_path, "mosdeploy train")
        found[f"supernet in {config.supernet_from}"] = f"{DIGEST}{card.supernet_sha256}"
    if data_sha256 is not None:
        found["data"] = f"{DIGEST}{data_sha256}"
    return found


def cost_function(
    spec: ModelSpec, family: Family, tokenizer_size: int = 0
) -> "Callable[[ArchConfig], Cost]":
    """Return what tells what an architecture costs besides time."""
    from ..export.candidate import bundle_bytes
    from ..search.constraints import Cost

    def cost(arch: ArchConfig) -> Cost:
        inventory = spec.inventory(arch)
        model_bytes = bundle_bytes(spec, arch, family.build_graph)
        return Cost(
            num_parameters=inventory.num_parameters,
            size_bytes=model_bytes + tokenizer_size,
            num_body_parameters=inventory.num_body_parameters,
            memory_bytes=model_bytes + inventory.activation_bytes,
        )

    return cost
