"""One subnet to export: its options, what the bundle is made from, and how it is checked."""

import contextlib
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...config.device import DeviceProfile
from ...config.sections import ExportConfig
from ...errors import ConfigError, ExportError
from ...notebook import HtmlTable
from ...records import BundleManifest, PrecisionChoice
from ...run_folder.context import Context
from ...run_folder.options import ExportOptions
from ...run_folder.subnets import SelectedSubnet, is_trained
from ...run_folder.summaries import RuntimeChoice
from ...run_folder.trained_run import TrainedRun
from ...spaces import ModelSpec
from ...spaces.genes import ArchConfig
from ...spaces.spec import Workload
from ...storage import atomic_write, sha256_bytes
from ..chunked import in_chunks

if TYPE_CHECKING:
    from ...export.bundle import BuiltModel, BundleJob, BundleOrigin, ModelBuilder
    from ...export.parity import ParityExamples
    from ...family import SmallerVocabulary


@dataclass(frozen=True)
class ExportResult(HtmlTable):
    """A bundle that was just written, and what was compared for it."""

    path: Path
    manifest: BundleManifest
    size_bytes: int
    precision_choice: PrecisionChoice | None = None
    runtime_choice: RuntimeChoice | None = None


@dataclass(frozen=True)
class ExportSource:
    """A subnet with its weights, at a workload; `vocabulary` is the part that is kept, None for
    all.
    """

    state: TrainedRun
    chosen: SelectedSubnet
    workload: Workload
    vocabulary: "SmallerVocabulary | None" = None

    def at(self, precision: str | None) -> "ExportSource":
        """The same at another precision; None leaves its own."""
        return replace(self, workload=self.workload.changed({"precision": precision}))

    @property
    def arch(self) -> ArchConfig:
        return self.chosen.arch

    @property
    def spec(self) -> ModelSpec:
        """The model, at the precision of the workload."""
        smaller = self.vocabulary
        vocab_size = self.state.card.vocab_size if smaller is None else len(smaller)
        return ModelSpec(self.state.config.space, vocab_size, self.workload)

    @property
    def name(self) -> str:
        """What the bundle is called: all that tells it from others of this run folder."""
        own = self.state.config.workload
        workload = self.workload
        name = f"{self.state.config.title}-{self.arch.key[:8]}-{workload.precision}"
        name += workload.label
        for key, value in workload:
            is_told = key in ("name", "precision", "beam", "shortlist")
            if not is_told and value != getattr(own, key):
                name += f"-{key.replace('_', '-')}{value}"
        if self.chosen.weights != "inherited":
            name += f"-{self.chosen.weights}"
        return name if self.vocabulary is None else f"{name}-trimmed"

    @property
    def tokenizer_sha256(self) -> str:
        if self.vocabulary is None:
            return self.state.card.tokenizer_sha256
        return sha256_bytes(self.vocabulary.tokenizer.encode())

    def tokenizer(self) -> Path:
        """Return the tokenizer's file; that of a smaller vocabulary is written."""
        files = self.state.files
        if self.vocabulary is None:
            return files.tokenizer_path
        # another export that trims writes its own to the same place: hence the hash
        path = files.trimmed_tokenizer_path
        atomic_write(path, self.vocabulary.tokenizer.encode())
        return path

    def arrays(self) -> dict[str, Any]:
        """Return the weights by name."""
        from ...export.onnx.builder import state_arrays

        arrays = state_arrays(self.chosen.subnet.state_dict())
        return arrays if self.vocabulary is None else self.vocabulary.weights(arrays)

    def own_ids(self, input_ids: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
        """Turn ids of the trained network into those of the exported model."""
        smaller = self.vocabulary
        return input_ids if smaller is None else [smaller.new_ids(ids) for ids in input_ids]

    def trained_ids(self, input_ids: list[list[int]]) -> list[list[int]]:
        """Turn ids of the exported model into those of the trained network."""
        smaller = self.vocabulary
        if smaller is None:
            return input_ids
        return [[smaller.ids[i] for i in ids] for ids in input_ids]


def smaller_vocabulary(state: TrainedRun, limits: ExportConfig) -> "SmallerVocabulary | None":
    """The part of the vocabulary that the examples, and the lines of `vocabulary_texts`, use; None
    for all of it.
    """
    from ...data.text_files import read_text_lines

    if not limits.trim_vocabulary:
        return None
    trim = state.family.trim_vocabulary
    if trim is None:
        raise ConfigError(
            f"the vocabulary of '{state.family.name}' cannot be trimmed; leave --trim-vocabulary "
            "out, and trim_vocabulary in [export]"
        )
    texts: list[str] = []
    if limits.vocabulary_texts is not None:
        texts = list(read_text_lines(state.files.root / limits.vocabulary_texts))
    smaller = trim(state.files.tokenizer_path, [*state.data.train, *state.data.valid], texts)
    # a training that ends meanwhile replaces the file: this refuses another one
    state.tokenizer_bytes()
    return smaller


def say_weights(context: Context, options: ExportOptions, source: ExportSource) -> None:
    """Say which weights are taken, and how to come to better ones."""
    context.progress.say(source.chosen.note)
    if options.weights is not None or is_trained(source.state, source.arch):
        return
    pick_option = "" if options.pick == "winner" else f" --pick {shlex.quote(str(options.pick))}"
    context.progress.say(
        f"training it alone raises its scores: run `mosdeploy finetune{pick_option}`, then export "
        "again; or say --weights inherited"
    )


def bundle_job(source: ExportSource, origin: "BundleOrigin", limits: ExportConfig) -> "BundleJob":
    """What is exported, and what its manifest says."""
    from ...export.bundle import BundleJob

    state = source.state
    family = state.family
    return BundleJob(
        family=family.name,
        spec=source.spec,
        arch=source.arch,
        settings=family.bundle_settings(state.config, source.workload, state.data),
        origin=origin,
        tokenizer_path=source.tokenizer(),
        tokenizer_sha256=source.tokenizer_sha256,
        limits=limits,
        readme=family.bundle_readme,
    )


def onnx_builder(source: ExportSource) -> "ModelBuilder":
    """What writes a subnet's `model.onnx` into a folder."""
    from ...export.bundle import BuiltModel
    from ...export.onnx.builder import write_model
    from ...runtime.manifest import ONNX_MODEL_NAME

    state = source.state

    def build(folder: Path) -> BuiltModel:
        options = state.graph_options(source.workload)
        model = state.family.build_graph(source.spec, source.arch, source.arrays(), options)
        write_model(model, folder / ONNX_MODEL_NAME)
        return BuiltModel("onnxruntime")

    return build


def tvm_builder(source: ExportSource, profile: DeviceProfile) -> "ModelBuilder":
    """What writes a TVM model for a device into a bundle's folder."""
    from ...export.tvm import Processor

    family = source.state.family
    build_tvm = family.build_tvm
    if build_tvm is None:
        raise ConfigError(f"'{family.name}' has no TVM export; choose --runtime onnxruntime")
    processor = Processor.of(profile)
    max_positions = source.state.graph_options(source.workload).max_positions

    def build(folder: Path) -> "BuiltModel":
        return build_tvm(
            source.spec,
            source.arch,
            source.arrays(),
            folder,
            max_positions=max_positions,
            processor=processor,
        )

    return build


@contextlib.contextmanager
def runtime_errors() -> Iterator[None]:
    """Turn what the runtime says of a bundle that was just built into an ExportError."""
    from ...runtime import BundleError as RuntimeBundleError

    try:
        yield
    except RuntimeBundleError as error:
        raise ExportError(f"the runtime cannot run the exported model: {error}") from error


def parity_examples(source: ExportSource, limit: int) -> "ParityExamples":
    """Validation examples, answered in torch by the subnet that is exported."""
    from ...export.parity import ParityExamples

    state = source.state
    options = state.graph_options(source.workload)
    scored = state.scored(state.data.valid, source.workload, limit=limit, options=options)

    def in_torch(predict: Callable[..., Any]) -> Callable[[list[list[int]]], Any]:
        def answer(ids: list[list[int]]) -> Any:
            return predict(source.chosen.subnet, source.trained_ids(ids))

        return in_chunks(answer, partial(state.progress.update, "answer in torch"))

    shortcut = scored.shortcut
    if shortcut is not None:
        shortcut = replace(shortcut, exact=in_torch(shortcut.exact))
    return ParityExamples(
        inputs=scored.inputs,
        input_ids=source.own_ids(scored.input_ids),
        reference=in_torch(scored.predict),
        decode=scored.decode,
        score=lambda outputs: scored.metrics(outputs)[scored.metric],
        metric=scored.metric,
        shortcut=shortcut,
    )
