"""Family: what a kind of model offers to the pipeline, as one record of callables."""

import functools
import importlib
import json
import math
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from .data.batches import Dataset
    from .export.bundle import BuiltModel
    from .export.parity import Shortcut
    from .records import Scores
    from .report import FamilyPage
    from .runtime.execution import Timing
    from .spaces.genes import ArchConfig
    from .spaces.spec import ModelSpec
    from .supernet.elastic import Subnet
    from .supernet.supernet import Supernet
    from .training.log import LogLine

__all__ = [
    "BundleModel",
    "DataRequest",
    "DataSizes",
    "Family",
    "FormatJob",
    "RunPlan",
    "ScoredExamples",
    "Setting",
    "SmallerVocabulary",
    "TaskData",
    "Teacher",
    "TeacherTask",
    "Tokenizer",
    "deferred",
    "num_cores",
]


# -- a run file that fits the user's data: what a family is told, and what it plans

COMMENT_COLUMN = 41
HELD_OUT = {"valid": ("valid", "validation", "dev"), "test": ("test",)}
"""Names of held-out files beside one with `train` in its name."""


SUPERNET_SHARE = 0.07
"""The supernet's share of the steps of a walk with one winner: a little above the least that chose
well, as measured.
"""
SHARED = 0.19
"""Of the steps of a walk with several winners, over the square root of their number."""
MAX_SHARE = 0.5


@dataclass(frozen=True)
class DataRequest:
    """The user's files and wishes for a run file; None where nothing was named."""

    files: tuple[str, ...]  # as the run file will name them
    root: Path  # the run folder, which relative names start from
    valid: str | None = None
    test: str | None = None
    checkpoint: str | None = None
    size: str | None = None
    languages: tuple[str, str] | None = None
    text: str | None = None
    label: str | None = None
    has_gpu: bool = False
    num_winners: int = 1  # subnets that will be found in one supernet


@dataclass(frozen=True)
class Setting:
    """A key of a run file, its value, and why it has that.

    `steps`: the value counts steps, so that it grows with the time that there is: the `length` of
    a training, or a `part` of one. `at`: the setting where all steps are multiplied by a factor,
    for a value that follows from the length and counts none.
    """

    key: str
    value: object
    why: str = ""
    steps: Literal["length", "part"] | None = None
    at: "Callable[[float], Setting] | None" = None

    @property
    def line(self) -> str:
        """As it stands in TOML."""
        # strings, numbers, booleans and lists of them are written alike in TOML and JSON
        text = f"{self.key} = {json.dumps(self.value, ensure_ascii=False)}"
        return f"{text:<{COMMENT_COLUMN - 1}} # {self.why}" if self.why else text


class DataSizes(NamedTuple):
    """Numbers of training, validation and test examples."""

    train: int
    valid: int
    test: int


@dataclass(frozen=True)
class RunPlan:
    """A run file, and what was found in the data.

    Examples
    --------
    >>> steps = Setting("steps", 100, "one epoch", "length")
    >>> plan = RunPlan("a run", {}, DataSizes(10, 1, 1), {"training": [steps]})
    >>> print(plan.scaled(0.5, "2h").text.splitlines()[-1])
    steps = 50                               # 2h
    """

    title: str  # the first line of the run file
    facts: Mapping[str, str]  # what the data hold, for people
    sizes: DataSizes
    sections: Mapping[str, Sequence[Setting]]  # those of the top have the name ""

    @property
    def text(self) -> str:
        """Content of the run file."""
        lines = [
            f"# mosdeploy run file: {self.title} Written by `mosdeploy init`.",
            "# Every command in this folder reads it; options on the command line win.",
        ]
        for name, settings in self.sections.items():
            lines += ["", *([f"[{name}]"] if name else []), *(x.line for x in settings)]
        return "\n".join(lines) + "\n"

    def scaled(self, factor: float, why: str) -> "RunPlan":
        """The same plan with other numbers of steps, in the same proportions."""
        sections = {
            name: tuple(_scaled(setting, factor, why) for setting in settings)
            for name, settings in self.sections.items()
        }
        return replace(self, sections=sections)

    def with_setting(self, section: str, setting: Setting) -> "RunPlan":
        """The same plan with one more key of a section."""
        settings = (*self.sections.get(section, ()), setting)
        return replace(self, sections={**self.sections, section: settings})


def _scaled(setting: Setting, factor: float, why: str) -> Setting:
    if setting.at is not None:
        return setting.at(factor)
    if setting.steps is None or not isinstance(setting.value, int):
        return setting
    value = max(1, round(setting.value * factor))
    return replace(setting, value=value, why=why if setting.steps == "length" else setting.why)


def rounded_up(number: float, multiple: int) -> int:
    """The least multiple that is not less.

    Examples
    --------
    >>> rounded_up(17.2, 8)
    24
    """
    return -int(-number // multiple) * multiple


def two_digits(number: float) -> int:
    """A whole number with two digits that count, as people write what they chose by rule.

    Examples
    --------
    >>> two_digits(4873), two_digits(7)
    (4900, 7)
    """
    return int(float(f"{number:.2g}"))


def held_out_fraction(num_examples: int) -> float:
    """The share of the examples that is split off for validation, and for the test: about 1,000,
    but no more than a tenth.

    Examples
    --------
    >>> held_out_fraction(5000), held_out_fraction(3_000_000)
    (0.1, 0.00033)
    """
    return min(0.1, float(f"{1000 / max(1, num_examples):.2g}"))


def supernet_share(num_winners: int) -> float:
    """The supernet's share of the steps of a walk with so many winners."""
    if num_winners == 1:
        return SUPERNET_SHARE
    return min(SHARED * math.sqrt(num_winners), MAX_SHARE)


SPLIT_REASONS = {
    "valid": "chooses everything",
    "valid_fraction": "chooses everything; split off by a hash, so that a rerun repeats it",
    "test": "chooses nothing",
    "test_fraction": "chooses nothing",
}


def search_settings(population: int, iterations: int, eval_examples: int) -> tuple[Setting, ...]:
    """Size the search."""
    return (
        Setting("population", population, "architectures of a generation"),
        Setting("iterations", iterations),
        Setting("eval_examples", eval_examples, "validation examples that each is judged on"),
    )


def dropped_fact(dropped: Mapping[str, int]) -> str:
    """Describe how many examples are left out, by reason."""
    return ", ".join(f"{reason} {count:,}" for reason, count in dropped.items()) or "none"


# -- the record of callables that a family is, and what they take and return


@dataclass(frozen=True)
class SmallerVocabulary:
    """Part of a vocabulary."""

    tokenizer: str  # content of the tokenizer's file that knows this part alone
    ids: tuple[int, ...]  # the old id of each new one
    tables: tuple[str, ...]  # names of weights that have a row for each id

    def __len__(self) -> int:
        return len(self.ids)

    def weights(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """Return a subnet's weights, of its tables the rows that are left."""
        rows = list(self.ids)
        return {name: x[rows] if name in self.tables else x for name, x in weights.items()}

    def new_ids(self, ids: Sequence[int]) -> list[int]:
        """Old ids, all of which are left, under their new numbers."""
        return [self._numbers[i] for i in ids]

    @functools.cached_property
    def _numbers(self) -> dict[int, int]:
        return {old: new for new, old in enumerate(self.ids)}


@dataclass(frozen=True)
class FormatJob:
    """A subnet to write in a format of other libraries."""

    spec: "ModelSpec"
    arch: "ArchConfig"
    weights: Mapping[str, Any]
    config: Any
    tokenizer_path: Path
    tokenizer_sha256: str | None = None


class BundleModel(Protocol):
    """A bundle, opened with the runtime that devices have; `timing` tells where time goes."""

    timing: "Timing"

    @property
    def tokenizer(self) -> Any:
        """Its `encode` gives the ids of a text."""

    def predict_ids(self, inputs: Sequence[Sequence[int]]) -> Sequence[Any]:
        """Input ids to answers: token ids, or scores."""

    def answer(self, lines: Sequence[str]) -> list[dict[str, Any]]:
        """Lines of text to all that is known of each, as objects for JSON: with `is_cut` or
        `num_windows` where a line was too long, `is_single` where it holds one text of two,
        `is_joined` where it holds two that were read as one.
        """

    def line_of(self, answer: Mapping[str, Any]) -> str:
        """One of these as a line of text."""


def num_cores() -> int:
    """Processors that this process may run on or, where the system does not tell (macOS), all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class TaskData:
    """The user's examples, as text, in three splits, and how many were dropped for which reason; no
    input, case aside, is in two splits.
    """

    train: Sequence[Any]
    valid: Sequence[Any]
    test: Sequence[Any]  # may be empty
    dropped: Mapping[str, int]
    sha256: str


class Tokenizer(Protocol):
    """Text to ids."""

    @property
    def vocab_size(self) -> int:
        """Number of different ids."""


@dataclass(frozen=True)
class ScoredExamples:
    """Examples on which networks are compared by the family's metrics."""

    inputs: Sequence[str]
    input_ids: Sequence[Sequence[int]]
    predict: Callable[[Any, list[list[int]]], Sequence[Any]]  # a subnet, ids: token ids or scores
    decode: Callable[[Any], str]  # an answer to its text
    metrics: Callable[[list[str]], dict[str, float]]  # of all outputs; the first one counts
    metric: str  # by which a bundle is compared with torch
    setup: str  # how outputs are made: `greedy`, `beam 4`
    shortcut: "Shortcut | None" = None  # what `predict` leaves out
    # of the lines that a bundle answers with, if they are other texts
    line_metrics: Callable[[list[str]], dict[str, float]] | None = None

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self.inputs)

    def evaluate(self, subnet: Any) -> dict[str, float]:
        """Metrics of a subnet by name."""
        outputs = self.predict(subnet, [list(ids) for ids in self.input_ids])
        return self.metrics([self.decode(answer) for answer in outputs])


class Teacher(Protocol):
    """A trained network that all subnets learn from; as a rule the supernet starts from it."""

    @property
    def is_largest(self) -> bool:
        """Whether it is a network of the space's largest architecture, whose parts subnets are.
        Otherwise it was given, and the supernet starts from other weights.
        """

    @property
    def folder(self) -> Path:
        """Where its files lie: a folder of its own for each that was made otherwise."""

    @property
    def weights_sha256(self) -> str:
        """Of the weights that its parts have, and that the supernet starts from."""

    def label(self, dataset: "Dataset", examples: Sequence[Any]) -> "Dataset":
        """The same examples, as token ids and as they are, with the teacher's outputs, which their
        losses then count.
        """

    def supernet(self, seed: int) -> "Supernet":
        """A supernet to train; its largest subnet computes what the teacher computes, if that is of
        the largest architecture.
        """

    def subnet(self, arch: "ArchConfig") -> "Subnet":
        """The part of the weights that the supernet starts from that an architecture holds."""

    def scores(self, scored: ScoredExamples, examples: Sequence[Any], valid: "Dataset") -> "Scores":
        """Scores of a teacher that is given on all examples; `valid` is labelled, for the loss."""


@dataclass(frozen=True)
class TeacherTask:
    """Inputs of a teacher."""

    config: Any
    root: Path  # the run folder
    folder: Path  # where the teacher's files lie
    data_sha256: str  # of the data, and of what of the run file it was read with
    train: "Dataset | None" = None  # None where a finished teacher is to be opened
    valid: "Dataset | None" = None
    # told a step's line of the log, all steps, seconds left
    show: "Callable[[LogLine, int, float], None] | None" = None
    # told how many of all examples are labelled
    show_labels: "Callable[[int, int], None] | None" = None


@dataclass(frozen=True)
class Family:
    """One kind of model, as callables. None stands for what a family does not have.

    A comment names the arguments; `docs/add-a-family.md` says what each callable promises.
    """

    name: str  # as `family` at the top of a run file names it

    # -- data
    load_data: Callable[..., TaskData]  # config, run folder
    train_tokenizer: Callable[..., None]  # data, config, path: writes the file
    load_tokenizer: Callable[[Path], Tokenizer]
    tokenize: "Callable[..., Dataset]"  # tokenizer, examples, config
    open_dataset: "Callable[[Path], Dataset]"  # what `Dataset.save` wrote
    made_up_dataset: "Callable[..., Dataset]"  # config: one full batch

    # -- networks
    fresh_supernet: "Callable[..., Supernet]"  # space, vocab_size, supernet config, seed
    fresh_subnet: Callable[..., Any]  # arch, space, vocab_size, supernet config, seed
    # trains the teacher, or goes on, if the task has examples; else opens the finished one
    open_teacher: Callable[[TeacherTask], Teacher] | None
    # supernet, its config, another task's config, seed, that task's training examples
    serve_task: "Callable[..., Supernet] | None"

    # -- bundles
    # tokenizer, examples, config, workload, limit: at most so many that a bundle takes; by name the
    # teacher, and the `options` of the bundle's graph
    scored_examples: Callable[..., ScoredExamples]
    # spec, arch, weights, options: the same graph for weights and for a skeleton
    build_graph: Callable[..., Any]
    graph_options: Callable[..., Any]  # config, workload, data, tokenizer
    bundle_settings: Callable[..., dict[str, Any]]  # config, workload, data: for the manifest
    bundle_readme: Callable[..., str]  # manifest
    build_tvm: "Callable[..., BuiltModel] | None"  # spec, arch, weights, folder, options by name
    # path of the tokenizer, examples, further texts: the vocabulary that these use
    trim_vocabulary: Callable[..., SmallerVocabulary] | None
    # by name: writes a folder of another library, whole or not at all
    formats: Mapping[str, Callable[[FormatJob, Path], None]]
    # folder, threads, long: "window" to read long lines in windows
    open_bundle: Callable[..., BundleModel]
    describe_page: "Callable[..., FamilyPage]"  # search result, manifest or None

    # -- what not every family has
    # data, config, run folder, the teacher's folder, show: training examples with its answers
    distill: Callable[..., Sequence[Any]] | None = None
    plan_run: Callable[[DataRequest], RunPlan] | None = None  # None: run files written by hand
    check_checkpoint: Callable[..., None] | None = None  # config, run folder


def deferred(package: str, target: str) -> Callable[..., Any]:
    """Return the function `module:name` of a family's package, imported at its first call: naming a
    family loads neither torch nor onnx. It can be pickled.
    """
    return functools.partial(_call, package, target)


def _call(package: str, target: str, *arguments: Any, **options: Any) -> Any:
    module, _, name = target.partition(":")
    function = operator.attrgetter(name)(importlib.import_module(f".{module}", package))
    return function(*arguments, **options)
