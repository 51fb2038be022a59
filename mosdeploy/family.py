"""Family: what a kind of model offers to the pipeline, as one record of callables.

In: nothing. Out: the type. A family fills it in `families/NAME/__init__.py`; the pipeline hands
single callables to the rooms, so that no room knows a family. A callable enters here only where two
families differ.
"""

import functools
import importlib
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .data.protocols import Dataset
    from .export.bundle import BuiltModel
    from .export.parity import Shortcut
    from .latency.predictor import LatencyPredictor
    from .records import Scores
    from .report import FamilyPage
    from .runtime.timing import Timing
    from .spaces.genes import ArchConfig
    from .spaces.spec import ModelSpec
    from .supernet.elastic import Subnet
    from .supernet.supernet import Supernet


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
    """Examples on which networks are compared by the family's metrics.

    Attributes
    ----------
    inputs, input_ids
        The inputs as text and as ids.
    predict
        A subnet in torch and input ids to answers: token ids, or scores.
    decode
        An answer to its text.
    metrics
        All outputs, as text, to metrics by name; the first one counts.
    metric
        Name of the metric that counts.
    setup
        How outputs are made: `greedy`, `beam 4`.
    shortcut
        What `predict` leaves out, if it does; its `exact` takes what `predict` takes.
    """

    inputs: Sequence[str]
    input_ids: Sequence[Sequence[int]]
    predict: Callable[[Any, list[list[int]]], Sequence[Any]]
    decode: Callable[[Any], str]
    metrics: Callable[[list[str]], dict[str, float]]
    metric: str
    setup: str
    shortcut: "Shortcut | None" = None

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

    def label(self, dataset: "Dataset", examples: Sequence[Any]) -> "Dataset":
        """The same examples with the teacher's outputs, which their losses then count.

        Parameters
        ----------
        dataset, examples
            Examples as token ids and as they are.
        """

    def supernet(self, seed: int) -> "Supernet":
        """A supernet to train; its largest subnet computes what the teacher computes, if that is of
        the largest architecture.
        """

    def subnet(self, arch: "ArchConfig") -> "Subnet":
        """The part of the weights that the supernet starts from that an architecture holds."""

    def scores(self, scored: ScoredExamples, examples: Sequence[Any], valid: "Dataset") -> "Scores":
        """Scores of a teacher that is given.

        Parameters
        ----------
        scored, examples
            The same examples, all of them.
        valid
            Labelled examples for the loss.
        """


@dataclass(frozen=True)
class TeacherTask:
    """What a teacher is made from.

    Attributes
    ----------
    config, root
        The run file and its folder.
    folder
        Where the teacher's files lie.
    train, valid
        Examples as token ids; None where a teacher that is finished is to be opened.
    data_sha256
        Fingerprint of the data, and of what of the run file it was read with.
    show
        Told how far the training is: step, total, loss, targets a second, seconds left.
    """

    config: Any
    root: Path
    folder: Path
    data_sha256: str
    train: "Dataset | None" = None
    valid: "Dataset | None" = None
    show: Callable[[int, int, float, float, float], None] | None = None


class OutputTeacher(Protocol):
    """A model whose answers a family's networks can be trained on."""

    @property
    def setup(self) -> str:
        """How it answers, in all that its answers depend on: `beam 5, ...`."""

    def answer(self, examples: Sequence[Any]) -> list[tuple[str, ...]]:
        """Training examples with the same inputs, and its answers for targets; without those that
        are not worth training on.
        """


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
    """A subnet to write in a format of other libraries.

    Attributes
    ----------
    spec, arch, weights
        As `build_graph` takes them; the precision is that of the workload.
    config
        The run file.
    tokenizer_path
        The file that turns text into ids.
    """

    spec: "ModelSpec"
    arch: "ArchConfig"
    weights: Mapping[str, Any]
    config: Any
    tokenizer_path: Path


class BundleModel(Protocol):
    """A bundle, opened with the runtime that devices have; `timing` tells where time goes."""

    timing: "Timing"

    def predict_ids(self, inputs: Sequence[Sequence[int]]) -> Sequence[Any]:
        """Input ids to answers: token ids, or scores."""

    def predict(self, lines: Sequence[str]) -> list[str]:
        """Lines of text to lines of text."""

    def answer(self, lines: Sequence[str]) -> list[dict[str, Any]]:
        """Lines of text to all that is known of each, as objects for JSON: with `is_cut` or
        `num_windows` where a line was too long.
        """

    def line_of(self, answer: Mapping[str, Any]) -> str:
        """One of these as a line of text."""


@dataclass(frozen=True)
class Family:
    """One kind of model.

    Attributes
    ----------
    name
        As `family` at the top of a run file names it.
    load_data
        (config, run folder) to the user's examples. Raises ConfigError for data that is wrong.
    train_tokenizer
        (data, config, path): write the tokenizer's file, whole or not at all.
    load_tokenizer
        (path) to a tokenizer. Raises StaleInputError for a file that is missing or
        holds none.
    tokenize
        (tokenizer, examples, config) to a `Dataset`, without the examples that are too long.
    open_dataset
        (path) to the `Dataset` that `Dataset.save` wrote there, read as it is needed.
    made_up_dataset
        (config) to one full batch of random examples, for a dry run.
    fresh_supernet
        (space, vocab_size, supernet config, seed) to a supernet with initial weights; the global
        generator of torch is left as it was.
    build_supernet
        (space as JSON, vocab_size, supernet config as JSON) to a supernet that receives the weights
        of a file. Raises ConfigError for JSON that is none of these.
    fresh_subnet
        (arch, space, vocab_size, supernet config, seed) to a plain network with initial weights.
    open_teacher
        (`TeacherTask`) to a `Teacher`: trained, or what a killed training left trained on, if the
        task has examples; else the finished one. None for a family that learns from its data
        alone.
    serve_task
        (supernet, its config, the config of another task, seed) to a supernet of the same weights
        with a fresh head for that task; None for a family whose supernets serve one task. Raises
        ConfigError for what does not fit.
    scored_examples
        (tokenizer, examples, config, workload, limit) to `ScoredExamples`; with a limit, at most so
        many of those that a bundle takes. By name, a family with a teacher is given it, and all the
        `options` of the graph of the bundle that the examples are for.
    build_graph
        (spec, arch, weights, options) to an ONNX model from ids to ids; the same for weights and
        for a skeleton.
    bundle_settings
        (config, workload) to what the manifest's `settings` tell the runtime.
    graph_options
        (config, workload, data, tokenizer) to the options of a bundle's graph: those that follow
        from [export], and what is learned from the data for it.
    bundle_readme
        (manifest) to the text of the bundle's README.
    build_tvm
        (spec, arch, weights, options, folder) writes a TVM library and tells what it is; None for a
        family that has none.
    trim_vocabulary
        (path of the tokenizer, examples, further texts) to a `SmallerVocabulary` of what these use;
        None for a family that cannot do with a part.
    formats
        By name, what writes a `FormatJob` into a folder, whole or not at all; a folder that was
        written so before is replaced.
    open_bundle
        (folder, threads, long) to a `BundleModel`; both but the folder may be left out. `long` is
        `window` where lines that are too long shall be read in windows; a family that has none
        raises the runtime's InputError.
    describe_page
        (search result, manifest or None) to the family's part of the report.
    latency_formats
        By name, what reads a published file of latencies and fits a predictor to it: (path, spec,
        facts).
    distill
        (folder, or subnet in torch; the subnet's tokenizer or None; config; beam and threads or
        None) to an `OutputTeacher`; None for a family whose examples no model answers anew. Raises
        ConfigError for a folder that holds none.
    """

    name: str
    load_data: Callable[..., TaskData]
    train_tokenizer: Callable[..., None]
    load_tokenizer: Callable[[Path], Tokenizer]
    tokenize: "Callable[..., Dataset]"
    open_dataset: "Callable[[Path], Dataset]"
    made_up_dataset: "Callable[..., Dataset]"
    fresh_supernet: "Callable[..., Supernet]"
    build_supernet: "Callable[[str, int, str], Supernet]"
    fresh_subnet: Callable[..., Any]
    open_teacher: Callable[[TeacherTask], Teacher] | None
    serve_task: "Callable[..., Supernet] | None"
    scored_examples: Callable[..., ScoredExamples]
    build_graph: Callable[..., Any]
    graph_options: Callable[..., Any]
    bundle_settings: Callable[..., dict[str, Any]]
    bundle_readme: Callable[..., str]
    build_tvm: "Callable[..., BuiltModel] | None"
    trim_vocabulary: Callable[..., SmallerVocabulary] | None
    formats: Mapping[str, Callable[[FormatJob, Path], None]]
    open_bundle: Callable[..., BundleModel]
    describe_page: "Callable[..., FamilyPage]"
    latency_formats: "Mapping[str, Callable[..., LatencyPredictor]]"
    distill: Callable[..., OutputTeacher] | None = None


def deferred(package: str, target: str) -> Callable[..., Any]:
    """A function that is imported at its first call: naming a family must load neither torch nor
    onnx.

    Parameters
    ----------
    package
        The family's package, `__name__`.
    target
        `module:function` or `module:Class.method` inside it. The result can be pickled.
    """
    return functools.partial(_call, package, target)


def _call(package: str, target: str, *arguments: Any, **options: Any) -> Any:
    module, _, name = target.partition(":")
    function = operator.attrgetter(name)(importlib.import_module(f".{module}", package))
    return function(*arguments, **options)
