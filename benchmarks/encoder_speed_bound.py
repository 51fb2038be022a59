"""The bound that the contenders of encoder_speed.py are held against: products at the rate that the
processor reaches in each width.

In: the number of threads. Out: `Peaks`, milliseconds.
"""

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from speed_bound import timed

from mosdeploy.record import Record

SIZE = 1024
REPEATS = 20


class Peaks(Record):
    """Products a second (multiplications, each with its addition), the best of several tries."""

    fp32: float
    bf16: float
    int8: float

    def bound_ms(self, num_macs: int, width: str) -> float:
        """No way of computing so many products in this width can be faster. Attention's own
        products are not counted.
        """
        per_s: float = getattr(self, width)
        return num_macs / per_s * 1e3


def measure_peaks(threads: int) -> Peaks:
    """Square products of 1,024 rows: fp32 and bf16 by torch, int8 (unsigned by signed) by ONNX
    Runtime.
    """
    torch.set_num_threads(threads)
    x = torch.rand(SIZE, SIZE)
    half = x.bfloat16()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(
        _int8_product(), options, providers=["CPUExecutionProvider"]
    )
    codes = {"x": np.full((SIZE, SIZE), 3, np.uint8)}
    seconds = {
        name: min(timed(work)[1] for _ in range(REPEATS))
        for name, work in (
            ("fp32", lambda: x @ x),
            ("bf16", lambda: half @ half),
            ("int8", lambda: session.run(None, codes)),
        )
    }
    return Peaks(**{name: SIZE**3 / taken for name, taken in seconds.items()})


def _int8_product() -> bytes:
    """One product with a matrix of bytes."""
    shape = (SIZE, SIZE)
    matrix = numpy_helper.from_array(np.full(shape, 3, np.int8), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("y", TensorProto.INT32, shape)],
        [matrix],
    )
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
