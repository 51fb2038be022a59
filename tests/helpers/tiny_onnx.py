"""ONNX models that are small enough to build in a test."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def tiny_model(width=8, weights_bytes=0, broken=False):
    """A loop of `max_steps` products; with `weights_bytes`, its matrix lies in weights.bin beside
    it.
    """
    matrix = numpy_helper.from_array(np.full((width, width), 0.1, np.float32), "w")
    if weights_bytes:
        assert width * width * 4 <= weights_bytes
        matrix.ClearField("raw_data")
        matrix.data_location = TensorProto.EXTERNAL
        for key, value in (
            ("location", "weights.bin"),
            ("offset", "0"),
            ("length", str(width * width * 4)),
        ):
            matrix.external_data.add(key=key, value=value)
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "w"], ["next"]),
            helper.make_node("Identity", ["going"], ["still"]),
        ],
        "step",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, width]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [1, width]),
        ],
    )
    nodes = [
        helper.make_node("ReduceSum", ["source_ids"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["sum_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["ones", "sum_float"], ["first"]),
        helper.make_node("Max", ["max_steps", "min_steps"], ["steps"]),
        helper.make_node("Loop", ["steps", "yes", "first"], ["last"], body=body),
        helper.make_node("Cast", ["last"], ["output_ids"], to=TensorProto.INT64),
    ]
    if broken:  # a node that fails when it runs: 8 columns against 3
        nodes[2] = helper.make_node("Add", ["ones", "three"], ["first"])
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("source_ids", TensorProto.INT64, [1, None]),
            helper.make_tensor_value_info("max_steps", TensorProto.INT64, []),
            helper.make_tensor_value_info("min_steps", TensorProto.INT64, []),
        ],
        [helper.make_tensor_value_info("output_ids", TensorProto.INT64, [1, width])],
        [
            matrix,
            numpy_helper.from_array(np.ones((1, width), np.float32), "ones"),
            numpy_helper.from_array(np.ones((1, 3), np.float32), "three"),
            numpy_helper.from_array(np.array(True), "yes"),
        ],
    )
    return helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]
    ).SerializeToString()
