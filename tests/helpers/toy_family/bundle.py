"""The toy's graph from ids to ids, what its bundle says, and what runs it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup
from onnx import ModelProto, TensorProto, helper

from mosdeploy.export.onnx.builder import (
    GraphBuilder,
    GraphOptions,
    InitializerSource,
    InlineInitializers,
    make_model,
)
from mosdeploy.export.onnx.embedding import TiedEmbedding
from mosdeploy.export.onnx.linear import LinearLayer
from mosdeploy.export.quantize import SCHEMES
from mosdeploy.records import BundleManifest, SearchResult
from mosdeploy.report import FamilyPage
from mosdeploy.runtime.execution import Timing
from mosdeploy.spaces import ModelSpec

from .words import CipherArch, CipherRunConfig, CipherWorkload
from .works import PAD_ID, load_tokenizer


def build_graph(
    spec: ModelSpec,
    arch: CipherArch,
    weights: Mapping[str, np.ndarray] | InitializerSource,
    options: GraphOptions | None = None,
) -> ModelProto:
    """`input_ids` int64 (B, L) to `output_ids` of the same shape."""
    spec.space.check(arch)
    scheme = SCHEMES[spec.workload.precision]
    number_format = scheme.format_of("encoder", 1)
    source = InlineInitializers(weights) if isinstance(weights, Mapping) else weights
    builder = GraphBuilder(source, "cipher")
    table = TiedEmbedding(
        vocab_size=spec.vocab_size,
        num_columns=arch.width,
        logits_dim=arch.width,
        number_format=scheme.table,
        int4_logits=scheme.int4_logits,
    )
    x = table.embed(builder, "input_ids", arch.width)
    for i, layer in enumerate(arch.layers):
        owner = f"layers.{i}"
        fc1 = LinearLayer(owner, ("fc1",), arch.width, layer.hidden, number_format)
        fc2 = LinearLayer(owner, ("fc2",), layer.hidden, arch.width, number_format)
        hidden = builder.op("Relu", fc1.apply(builder, x))
        x = builder.op("Add", x, fc2.apply(builder, hidden))
    rows = builder.op("Reshape", x, builder.constant([-1, arch.width]))
    best = table.best(builder, rows)  # (B * L, 1)
    shape = builder.op("Shape", "input_ids")
    builder.nodes.append(helper.make_node("Reshape", [best, shape], ["output_ids"]))
    values = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["B", "L"])
        for name in ("input_ids", "output_ids")
    ]
    return make_model(builder, values[:1], values[1:])


def graph_options(
    config: CipherRunConfig, workload: CipherWorkload, data: object, alphabet: object
) -> GraphOptions:
    return GraphOptions(max_positions=config.max_tokens)


def bundle_settings(
    config: CipherRunConfig, workload: CipherWorkload, data: object
) -> dict[str, int]:
    return {"pad_id": PAD_ID, "max_letters": config.max_tokens}


def bundle_readme(manifest: BundleManifest) -> str:
    return f"# {manifest.name}: the next letter\n"


class CipherModel:
    """A bundle, opened."""

    def __init__(self, folder: Path, threads: int | None = None, long: str = "cut") -> None:
        import onnxruntime

        self.timing = Timing()
        self.tokenizer = load_tokenizer(folder / "tokenizer.model")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 1
        self._session = onnxruntime.InferenceSession(folder / "model.onnx", options)

    def predict_ids(self, inputs: Sequence[Sequence[int]]) -> list[list[int]]:
        return [
            self._session.run(None, {"input_ids": np.array([ids])})[0][0].tolist() for ids in inputs
        ]

    def predict(self, lines: Sequence[str]) -> list[str]:
        answers = self.predict_ids([self.tokenizer.encode(line) for line in lines])
        return [self.tokenizer.decode(ids) for ids in answers]

    def answer(self, lines: Sequence[str]) -> list[dict[str, str]]:
        return [{"output": output} for output in self.predict(lines)]

    def line_of(self, answer: Mapping[str, str]) -> str:
        return answer["output"]


def describe_page(search: SearchResult, manifest: BundleManifest | None) -> FamilyPage:
    return FamilyPage(
        workload=f"{search.workload.num_letters} letters",
        task="answers a line",
        metric_title="Letters",
        draw=lambda arch: Markup("<figure>no <b>drawing</b></figure>"),
        drawing_note="Nothing to see.",
        layer_header=("layer", "hidden"),
        layer_rows=lambda arch: tuple((i + 1, x.hidden) for i, x in enumerate(arch.layers)),
        bundle_facts=(("Longest line", "12 letters"),),
        example_header=("line", "answer"),
    )
