"""The record of callables that a family is, and what they take and return."""

import functools
import importlib
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .plan import DataRequest, RunPlan

if TYPE_CHECKING:
    from ..data.batches import Dataset
    from ..export.bundle import BuiltModel
    from ..export.parity import Shortcut
    from ..records import Scores
    from ..report import FamilyPage
    from ..runtime.execution import Timing
    from ..spaces.genes import ArchConfig
    from ..spaces.spec import ModelSpec
    from ..supernet.elastic import Subnet
    from ..supernet.supernet import Supernet
    from ..training.log import LogLine


class SmallerVocabulary(Protocol):
    """Part of a vocabulary."""

    @property
    def tokenizer(self) -> str:
        """Content of the tokenizer's file that knows this part alone."""

    @property
    def ids(self) -> Sequence[int]:
        """The old id of each new one."""

    def __len__(self) -> int:
        """How many ids are left."""

    def weights(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """A subnet's weights, of its tables the rows that are left."""

    def new_ids(self, ids: Sequence[int]) -> list[int]:
        """Old ids, all of which are left, under their new numbers."""


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


class TaskData(Protocol):
    """The user's examples, as text, in three splits, and how many were dropped for which reason."""

    @property
    def train(self) -> Sequence[Any]:
        """Training examples."""

    @property
    def valid(self) -> Sequence[Any]:
        """Validation examples."""

    @property
    def test(self) -> Sequence[Any]:
        """Test examples; may be empty."""

    @property
    def dropped(self) -> Mapping[str, int]:
        """Reason to count."""

    @property
    def sha256(self) -> str:
        """Digest of the three splits."""


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
    # space and supernet config as JSON: receives the weights of a file
    build_supernet: "Callable[[str, int, str], Supernet]"
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
