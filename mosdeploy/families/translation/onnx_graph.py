"""One ONNX graph for a whole translation: token ids in, token ids out.

In: an architecture of any space, trained weights or a skeleton, a precision. Out: a `ModelProto`:
encoder, then cross-attention keys and values, then a decode loop with a key/value cache. It is
built node by node, with the fused operators of ONNX Runtime's contrib domain where they fit. This
file writes no file and knows no bundle.

Graph inputs: `source_ids` int64 (B, S), pieces and end token, padded with 0; `max_steps`,
`min_steps` int64 scalars. Output: `output_ids` int64 (B, T), without begin token, after the end
token filled with padding.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper

from ...export.onnx.blocks import GraphSpec, encode, prepare_decoder
from ...export.onnx.builder import CONTRIB, GraphBuilder
from ...export.onnx.decoding import MAX_STEPS, MIN_STEPS, PAD_ID, decode
from ...export.onnx.initializers import Array, InitializerSource, InlineInitializers
from ...export.quantize import SCHEMES
from ...spaces.spec import Precision
from ...spaces.translation import TranslationArch, TranslationSpace

SOURCE_IDS, OUTPUT_IDS = "source_ids", "output_ids"

OPSET = 18
IR_VERSION = 8
"""Opset and file version that ONNX Runtime has read since 1.14, so that older boards can."""


def build_graph(
    arch: TranslationArch,
    space: TranslationSpace,
    vocab_size: int,
    weights: Mapping[str, Array] | InitializerSource,
    *,
    beam: int,
    length_penalty: float,
    precision: Precision,
    max_positions: int,
) -> ModelProto:
    """Build the graph of one subnet.

    Parameters
    ----------
    weights
        `Subnet.state_dict()` as float arrays, or `ExternalInitializers` for a graph without them.
    beam
        Hypotheses a sentence; 1 is greedy.
    max_positions
        Longest source (end token included) and most decode steps that the graph can serve.

    Raises
    ------
    ArchError
        If the architecture is not in the space.
    ExportError
        If a weight is missing, of another shape, or not finite.
    """
    space.check(arch)
    scope = GraphBuilder(InlineInitializers(weights) if isinstance(weights, Mapping) else weights)
    plan = GraphSpec(arch, space, SCHEMES[precision], vocab_size, beam, max_positions)
    is_real = scope.op("Not", scope.op("Equal", SOURCE_IDS, scope.constant(PAD_ID)))
    mask = scope.op("Cast", is_real, to=TensorProto.INT32)
    positions = plan.positions(scope)
    outputs = encode(scope, plan, SOURCE_IDS, mask, positions)
    memory = prepare_decoder(scope, plan, outputs, mask, positions)
    ids = decode(scope, plan, memory, SOURCE_IDS, length_penalty)
    scope.nodes.append(helper.make_node("Identity", [ids], [OUTPUT_IDS], OUTPUT_IDS))
    integer = TensorProto.INT64
    inputs = [
        helper.make_tensor_value_info(SOURCE_IDS, integer, ["B", "S"]),
        helper.make_tensor_value_info(MAX_STEPS, integer, []),
        helper.make_tensor_value_info(MIN_STEPS, integer, []),
    ]
    result = helper.make_tensor_value_info(OUTPUT_IDS, integer, ["B", "T"])
    graph = scope.graph("translate", inputs, [result])
    domains = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
    model = helper.make_model(
        graph, opset_imports=domains, ir_version=IR_VERSION, producer_name="mosdeploy"
    )
    for name in list(
        scope.initializers
    ):  # last, and one by one: each step before would hold a copy of all weights
        model.graph.initializer.append(scope.initializers.pop(name))
    return model


def write_model(model: ModelProto, path: Path) -> None:
    """Write a model weight by weight, and take the weights out of it.

    Protobuf reads a message that comes in parts as one. Written at once, all weights would be in
    memory three times.
    """
    tensors = list(model.graph.initializer)
    del model.graph.initializer[:]
    with path.open("wb") as file:
        file.write(model.SerializeToString())
        for tensor in tensors:
            part = ModelProto()
            part.graph.initializer.append(tensor)
            file.write(part.SerializeToString())


def state_arrays(state_dict: Mapping[str, object]) -> dict[str, Array]:
    """Turn `Subnet.state_dict()` into float32 arrays, without naming torch."""
    return {
        name: np.asarray(tensor.detach().float().cpu(), np.float32)
        for name, tensor in state_dict.items()
    }  # type: ignore[attr-defined]
