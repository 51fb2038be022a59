"""What is exported: the options of `export`, and the parts of a bundle that all of its ways
share.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..config.sections import ExportConfig
from ..errors import ExportError
from ..notebook import HtmlTable
from ..records import BundleManifest, PrecisionChoice
from ..run_folder.summaries import RuntimeChoice
from .chunked import in_chunks
from .exported import ExportedSubnet

if TYPE_CHECKING:
    from ..export.bundle import BundleJob, ModelBuilder
    from ..export.parity import ParityExamples


@dataclass(frozen=True)
class ExportOptions:
    """What `export` builds."""

    pick: str = "winner"
    precision: str | None = None
    beam: int | None = None
    workload: Mapping[str, object] = field(default_factory=dict)
    weights: str | None = None
    device: str | None = None
    max_score_drop: float | None = None
    runtime: Literal["onnxruntime", "tvm", "auto"] = "onnxruntime"
    trim_vocabulary: bool | None = None
    is_newest: bool = True


@dataclass(frozen=True)
class ExportResult(HtmlTable):
    """A bundle that was just written, and what was compared for it."""

    path: Path
    manifest: BundleManifest
    size_bytes: int
    precision_choice: PrecisionChoice | None = None
    runtime_choice: RuntimeChoice | None = None


@contextlib.contextmanager
def runtime_errors() -> Iterator[None]:
    """Turn what the runtime says of a bundle that was just built into an ExportError."""
    from ..runtime import BundleError as RuntimeBundleError

    try:
        yield
    except RuntimeBundleError as error:
        raise ExportError(f"the runtime cannot run the exported model: {error}") from error


def bundle_job(exported: ExportedSubnet, name: str, limits: ExportConfig) -> "BundleJob":
    """What is to be exported, without what it was made from."""
    from ..export.bundle import BundleJob, BundleOrigin

    state = exported.state
    family = state.family
    weights = exported.chosen.weights
    return BundleJob(
        family=family.name,
        spec=exported.spec,
        arch=exported.arch,
        settings=family.bundle_settings(state.config, exported.workload, state.data),
        origin=BundleOrigin(name=name, device=None, provenance={}, weights=weights),
        tokenizer_path=exported.tokenizer(),
        tokenizer_sha256=exported.tokenizer_sha256,
        limits=limits,
        readme=family.bundle_readme,
    )


def onnx_builder(exported: ExportedSubnet) -> "ModelBuilder":
    """What writes a subnet's `model.onnx` into a folder."""
    from ..export.bundle import BuiltModel
    from ..export.onnx.model import write_model
    from ..runtime.manifest import ONNX_MODEL_NAME

    state = exported.state

    def build(folder: Path) -> BuiltModel:
        options = state.graph_options(exported.workload)
        model = state.family.build_graph(exported.spec, exported.arch, exported.arrays(), options)
        write_model(model, folder / ONNX_MODEL_NAME)
        return BuiltModel("onnxruntime")

    return build


def parity_examples(exported: ExportedSubnet, limit: int) -> "ParityExamples":
    """Validation examples that a bundle is held against, answered in torch by the same subnet."""
    from ..export.parity import ParityExamples

    state = exported.state
    options = state.graph_options(exported.workload)
    scored = state.scored(state.data.valid, exported.workload, limit=limit, options=options)

    def in_torch(predict: Callable[..., Any]) -> Callable[[list[list[int]]], Any]:
        def answer(ids: list[list[int]]) -> Any:
            return predict(exported.chosen.subnet, exported.trained_ids(ids))

        return in_chunks(answer, partial(state.progress.update, "answer in torch"))

    shortcut = scored.shortcut
    if shortcut is not None:
        shortcut = replace(shortcut, exact=in_torch(shortcut.exact))
    return ParityExamples(
        inputs=scored.inputs,
        input_ids=exported.own_ids(scored.input_ids),
        reference=in_torch(scored.predict),
        decode=scored.decode,
        score=lambda outputs: scored.metrics(outputs)[scored.metric],
        metric=scored.metric,
        shortcut=shortcut,
    )
