"""A graph under construction: nodes in order, small constants, initialisers.

In: operator names and tensor names. Out: node lists and initialisers for `onnx.helper`. A loop body
is a scope of its own that shares the root's initialisers. This file knows no network.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from .initializers import Compute, InitializerSource, TensorSpec

CONTRIB = "com.microsoft"
"""Domain of ONNX Runtime's fused operators."""


class GraphBuilder:
    """Emits nodes; every method returns the names of the tensors that it made.

    Parameters
    ----------
    weights
        Makes the initialisers.

    Attributes
    ----------
    root
        The outermost scope, for what is the same in every turn of a loop. What it computes of
        constants alone, ONNX Runtime computes when it loads the model.
    """

    def __init__(self, weights: InitializerSource) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self._weights = weights
        self.root = self
        self._prefix = ""
        self._count = 0

    def body(self, prefix: str) -> "GraphBuilder":
        """Open the scope of a loop body, whose tensor names start with `prefix`."""
        inner = GraphBuilder(self._weights)
        inner.initializers = self.initializers
        inner.root = self.root
        inner._prefix = prefix
        return inner

    def ops(
        self, op_type: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Add a node with several outputs; an empty input name stands for an absent optional input."""
        self._count += 1
        names = [f"{self._prefix}{self._count}" + (f".{i}" if i else "") for i in range(outputs)]
        self.nodes.append(helper.make_node(op_type, inputs, names, domain=domain, **attributes))
        return names

    def op(self, op_type: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output."""
        return self.ops(op_type, *inputs, domain=domain, **attributes)[0]

    def constant(self, value: npt.ArrayLike, dtype: type[np.generic] = np.int64) -> str:
        """A small constant; equal ones are stored once."""
        array = np.asarray(value, dtype=dtype)
        values = (
            str(array.tolist())
            if array.size <= 8
            else hashlib.sha256(array.tobytes()).hexdigest()[:16]
        )
        name = f"{array.dtype}{list(array.shape)}{values}"
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(array, name)
        return name

    def parameters(self, specs: Sequence[TensorSpec], compute: Compute) -> list[str]:
        """Initialisers that come from the network's weights; asked for twice, they are stored once."""
        if specs[0].name not in self.initializers:
            for tensor in self._weights.tensors(specs, compute):
                self.initializers[tensor.name] = tensor
        return [spec.name for spec in specs]

    def graph(
        self,
        name: str,
        inputs: Sequence[ValueInfoProto],
        outputs: Sequence[ValueInfoProto],
        initializers: Sequence[TensorProto] = (),
    ) -> GraphProto:
        """The nodes so far as a graph."""
        return helper.make_graph(self.nodes, name, inputs, outputs, initializers)
