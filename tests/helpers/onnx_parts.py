"""Graphs of one part in ONNX Runtime; torch, which loads slowly, is not needed."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnxruntime
from onnx import ModelProto, helper

from mosdeploy.export.onnx.builder import GraphBuilder, InlineInitializers, make_model


def open_model(model: ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run_part(
    weights: Mapping[str, np.ndarray],
    emit: Callable[..., str | Sequence[str]],
    *feeds: np.ndarray,
) -> list[np.ndarray]:
    """Run a graph of one part: `emit(builder, *inputs)` adds its nodes and names its outputs."""
    builder = GraphBuilder(InlineInitializers(weights), "part")
    names = [f"input_{i}" for i in range(len(feeds))]
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(feed.dtype), [None] * feed.ndim
        )
        for name, feed in zip(names, feeds, strict=True)
    ]
    made = emit(builder, *names)
    outputs = [
        helper.make_empty_tensor_value_info(name)
        for name in ([made] if isinstance(made, str) else made)
    ]
    session = open_model(make_model(builder, inputs, outputs))
    found: list[np.ndarray] = session.run(None, dict(zip(names, feeds, strict=True)))
    return found
