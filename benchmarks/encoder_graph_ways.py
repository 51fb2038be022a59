"""Other operators for the int8 graph of an encoder, against those that the product writes.

    python benchmarks/encoder_graph_ways.py --json

MiniLM on single film reviews, as in encoder_speed.py, one thread. All take turns, each with one run
that is not timed and then `--runs` that are; a figure is the median of the rounds' ratios, how many
times as fast as the product's graph. The machine should do nothing else.
"""

import argparse
import statistics
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
from encoder_speed import take_turns
from encoder_speed_contenders import Run, ours
from encoder_speed_task import Case, Task
from provenance import Provenance, provenance, result_path
from speed_report import ratio
from walk_cells import markdown

from mosdeploy.export.onnx import blocks
from mosdeploy.export.onnx.builder import CONTRIB, GraphBuilder
from mosdeploy.export.onnx.linear import LinearLayer
from mosdeploy.families.encoder import onnx_texts
from mosdeploy.storage import write_record

PACKAGES = ("onnxruntime", "onnx", "numpy")
Way = AbstractContextManager[object]
"""Within it the product writes another graph."""
CASES = tuple(Case(batch=1, tokens=tokens) for tokens in (32, 128))


class Outcome(Provenance):
    """What encoder_graph_ways.json holds: by way and tokens, how many times as fast."""

    rounds: int
    runs: int
    product_ms: dict[int, float]
    times_as_fast: dict[str, dict[int, float]]


def gelu_by_tanh() -> Way:
    """GELU by tanh in place of erf."""
    return patch.dict(blocks.ACTIVATION_OPS, gelu=("FastGelu", CONTRIB))


def one_product() -> Way:
    """Queries, keys and values by one product, then MultiHeadAttention."""

    def attend(stream: blocks.ResidualStream, owner: str, heads: int) -> None:
        builder, spec = stream.builder, stream.spec
        qkv = LinearLayer(owner, ("q", "k", "v"), spec.dim, spec.qkv_dim, "int8")
        product = qkv.product(builder, stream.reads)
        parts = builder.ops("Split", product, outputs=3, axis=-1, num_outputs=3)
        inputs = (*parts, qkv.bias(builder))
        mixed = builder.op("MultiHeadAttention", *inputs, domain=CONTRIB, num_heads=heads)
        blocks.project_out(stream, owner, mixed)

    return patch.object(onnx_texts, "quantized_self_attention", attend)


def int8_attention() -> Way:
    """Queries, keys and values in int8, with one scale; weights of the attention in 1/255."""

    def attend(stream: blocks.ResidualStream, owner: str, heads: int) -> None:
        builder, spec = stream.builder, stream.spec
        dim = spec.qkv_dim // heads
        qkv = LinearLayer(owner, ("q", "k", "v"), spec.dim, spec.qkv_dim, "int8")
        inputs = qkv.apply(builder, stream.reads)
        codes, scale, zero = builder.ops("DynamicQuantizeLinear", inputs, outputs=3)
        q, k, v = (
            builder.op("Reshape", x, builder.constant([0, 0, heads, dim]))
            for x in builder.ops("Split", codes, outputs=3, axis=-1, num_outputs=3)
        )
        q = builder.op("Transpose", q, perm=[0, 2, 1, 3])
        k = builder.op("Transpose", k, perm=[0, 2, 3, 1])
        v = builder.op("Transpose", v, perm=[0, 2, 1, 3])
        # in place of a division of the scores by the root of the width
        softened = builder.op("Mul", scale, builder.constant(dim**-0.5, np.float32))
        scores = (q, k, scale, softened, zero, zero)
        weights = builder.op("Softmax", multiplied(builder, *scores), axis=-1)
        step = builder.constant(1 / 255, np.float32)
        none = builder.constant(0, np.uint8)
        weights = builder.op("QuantizeLinear", weights, step, none)
        mixed = multiplied(builder, weights, v, step, scale, none, zero)
        mixed = builder.op("Transpose", mixed, perm=[0, 2, 1, 3])
        mixed = builder.op("Reshape", mixed, builder.constant([0, 0, spec.qkv_dim]))
        blocks.project_out(stream, owner, mixed)

    return patch.object(onnx_texts, "quantized_self_attention", attend)


def multiplied(builder: GraphBuilder, *inputs: str) -> str:
    """Product of two int8 tensors, with their scales and zero points, in fp32."""
    return builder.op("MatMulIntegerToFloat", *inputs, domain=CONTRIB)


def quantised_apart() -> Way:
    """An operator that quantises the input, and one that multiplies."""

    def product(layer: LinearLayer, builder: GraphBuilder, x: str, bias: str) -> str:
        codes, scale, zero = builder.ops("DynamicQuantizeLinear", x, outputs=3)
        weights, scales, weights_zero = layer.columns(builder)
        return multiplied(builder, codes, weights, scale, scales, zero, weights_zero, bias)

    return patch.object(LinearLayer, "_product", product)


def blocks_of_inputs() -> Way:
    """MatMulNBits of 8 bits, which quantises inputs in blocks."""
    written = LinearLayer._product

    def product(layer: LinearLayer, builder: GraphBuilder, x: str, bias: str) -> str:
        return written(replace(layer, number_format="matmulnbits8"), builder, x, bias)

    return patch.object(LinearLayer, "_product", product)


PRODUCT = "as the product"
WAYS = {
    PRODUCT: nullcontext,
    "GELU by tanh": gelu_by_tanh,
    "one product and MultiHeadAttention": one_product,
    "int8 attention": int8_attention,
    "quantised apart": quantised_apart,
    "MatMulNBits, 8 bits": blocks_of_inputs,
}


def main() -> None:
    """Measure, print, keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--runs", type=int, default=5, help="timed runs of a turn")
    parser.add_argument("--json", action="store_true", help="keep the results beside the script")
    options = parser.parse_args()
    task = Task("minilm")
    with TemporaryDirectory() as folder:
        runs = {name: open_way(task, name, Path(folder)) for name in WAYS}
    times = {
        case.tokens: take_turns(runs, task.inputs(case), options.rounds, options.runs)
        for case in CASES
    }
    outcome = Outcome(
        **provenance(PACKAGES),
        rounds=options.rounds,
        runs=options.runs,
        product_ms={k: statistics.median(x[PRODUCT]) for k, x in times.items()},
        times_as_fast={
            name: {k: ratio(x[PRODUCT], x[name]) for k, x in times.items()} for name in WAYS
        },
    )
    print(table(outcome))
    if options.json:
        write_record(result_path("encoder_graph_ways", ""), outcome)


def open_way(task: Task, name: str, folder: Path) -> Run:
    """The graph, read by ONNX Runtime."""
    contender = ours("int8", name)
    with WAYS[name]():
        contender.build(task, folder, folder)
    return contender.open(task, folder, threads=1)


def table(outcome: Outcome) -> str:
    """Markdown."""
    header = ["way", *(f"{case.batch} x {case.tokens}" for case in CASES)]
    rows = [
        [name, *(f"{x:.2f}" for x in by_tokens.values())]
        for name, by_tokens in outcome.times_as_fast.items()
    ]
    return markdown(header, rows)


if __name__ == "__main__":
    main()
