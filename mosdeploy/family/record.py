"""The record of callables that a family is."""

import functools
import importlib
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bundles import BundleModel, FormatJob, SmallerVocabulary
from .examples import ScoredExamples, TaskData, Tokenizer
from .plan import DataRequest, RunPlan
from .teachers import Teacher, TeacherTask

if TYPE_CHECKING:
    from ..data.batches import Dataset
    from ..export.bundle import BuiltModel
    from ..latency.predictor import LatencyPredictor
    from ..report import FamilyPage
    from ..supernet.supernet import Supernet


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
        (supernet, its config, the config of another task, seed, the task's training examples) to a
        supernet of the same weights with a fresh head for that task; None for a family whose
        supernets serve one task. Raises ConfigError for what does not fit.
    scored_examples
        (tokenizer, examples, config, workload, limit) to `ScoredExamples`; with a limit, at most so
        many of those that a bundle takes. By name, a family with a teacher is given it, and all the
        `options` of the graph of the bundle that the examples are for.
    build_graph
        (spec, arch, weights, options) to an ONNX model from ids to ids; the same for weights and
        for a skeleton.
    bundle_settings
        (config, workload, data) to what the manifest's `settings` tell the runtime.
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
        (data, config, run folder, the teacher's folder, show) to the training examples: those of
        the data or, if the run file names a teacher, with its answers as targets. None for a
        family whose teacher labels examples.
    plan_run
        (`DataRequest`) to a `RunPlan`: a run file for the user's data; None for a family whose run
        files are written by hand. Raises ConfigError for data that is wrong.
    check_checkpoint
        (config, run folder) raises ConfigError where the space is not that of the checkpoint, as
        far as this lies here; None for a family that has none.
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
    distill: Callable[..., Sequence[Any]] | None = None
    plan_run: Callable[[DataRequest], RunPlan] | None = None
    check_checkpoint: Callable[..., None] | None = None


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
