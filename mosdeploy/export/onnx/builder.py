"""A graph under construction, the model that is made of it, and the file that holds that."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from ...spaces.genes import ArchConfig
from ...spaces.spec import ModelSpec
from .initializers import Array, Compute, InitializerSource, TensorSpec

OPSET = 18
IR_VERSION = 8
"""Opset and file version that ONNX Runtime has read since 1.14, so that older devices can."""

CONTRIB = "com.microsoft"
"""Domain of ONNX Runtime's fused operators."""


@dataclass(frozen=True)
class LoopState:
    """One value that a loop hands from each iteration to the next."""

    name: str
    start: str
    onnx_type: int
    shape: tuple[str | int | None, ...]
    is_sequence: bool = False

    def info(self, name: str) -> ValueInfoProto:
        """Its type, under a name of the body."""
        if self.is_sequence:
            return helper.make_tensor_sequence_value_info(name, self.onnx_type, self.shape)
        return helper.make_tensor_value_info(name, self.onnx_type, self.shape)


class GraphBuilder:
    """Adds nodes to a graph; the methods return the names of the tensors that they made."""

    def __init__(self, source: InitializerSource, name: str) -> None:
        self.name = name
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self.root = self
        self._source = source
        self._prefix = ""
        self._count = 0

    # -- nodes and tensors -------------------------------------------------------------------------

    def ops(
        self, op_type: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Add a node with several outputs; an empty name stands for an optional input left out."""
        # the first output is a plain number; further ones get a suffix
        self._count += 1
        names = [f"{self._prefix}{self._count}" + (f".{i}" if i else "") for i in range(outputs)]
        self.nodes.append(helper.make_node(op_type, inputs, names, domain=domain, **attributes))
        return names

    def op(self, op_type: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output."""
        return self.ops(op_type, *inputs, domain=domain, **attributes)[0]

    def split(self, x: str, parts: int) -> list[str]:
        """Cut a tensor into equal parts along its last axis."""
        return self.ops("Split", x, outputs=parts, axis=-1, num_outputs=parts)

    def constant(self, value: npt.ArrayLike, dtype: type[np.generic] = np.int64) -> str:
        """Make a small constant; equal ones are stored once."""
        array = np.asarray(value, dtype=dtype)
        # the name is made of the value, so that an equal constant is found by its name
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
        """Make initialisers of the network's weights; asked for again, they are stored once."""
        # the tensors of one call are made together, so that the first stands for all
        if specs[0].name not in self.initializers:
            for tensor in self._source.tensors(specs, compute):
                self.initializers[tensor.name] = tensor
        return [spec.name for spec in specs]

    # -- graphs and loops --------------------------------------------------------------------------

    def branch(
        self,
        name: str,
        condition: str,
        then: Callable[["GraphBuilder"], str],
        otherwise: Callable[["GraphBuilder"], str],
    ) -> str:
        """Compute one of two float tensors, by a bool scalar; each function adds its nodes, one at
        least, to the body that it is given.
        """
        graphs = {}
        for key, compute in (("then_branch", then), ("else_branch", otherwise)):
            body = self.body(f"{name}.{key}")
            info = helper.make_tensor_value_info(compute(body), TensorProto.FLOAT, None)
            graphs[key] = body.graph([], [info])
        return self.op("If", condition, **graphs)

    def for_each(
        self,
        name: str,
        count: str,
        shape: tuple[str | int | None, ...],
        compute: Callable[["GraphBuilder", str], str],
    ) -> str:
        """Compute a float tensor for each of 0, 1, ... `count` - 1, one after another."""
        body = self.body(name)
        empty = self.op("SequenceEmpty", dtype=TensorProto.FLOAT)
        found = LoopState("found", empty, TensorProto.FLOAT, shape, is_sequence=True)
        tensor = compute(body, body.local("index"))
        longer = body.op("SequenceInsert", body.local(found.name), tensor)
        go_on = body.op("Identity", body.local("go"))
        return self.loop(body, [found], [longer], go_on, count)[0]

    def body(self, name: str) -> "GraphBuilder":
        """Open a loop body."""
        inner = GraphBuilder(self._source, name)
        # a body sees the tensors around it by name, so that no weight is stored in it
        inner.initializers = self.initializers
        inner.root = self.root  # of a body in a body, too, the outermost
        inner._prefix = f"{name}."
        return inner

    def local(self, name: str) -> str:
        """Name of a loop's state, or of its `index` (int64 scalar), inside this body."""
        return f"{self._prefix}{name}"

    def loop(
        self,
        body: "GraphBuilder",
        states: Sequence[LoopState],
        results: Sequence[str],
        go_on: str,
        max_iterations: str,
    ) -> list[str]:
        """Close a body and run it."""
        boolean = TensorProto.BOOL
        # ONNX fixes the order: number of the iteration, condition, then the states
        inputs = [
            helper.make_tensor_value_info(body.local("index"), TensorProto.INT64, []),
            helper.make_tensor_value_info(body.local("go"), boolean, []),
        ]
        outputs = [helper.make_tensor_value_info(go_on, boolean, [])]
        for state, result in zip(states, results, strict=True):
            inputs.append(state.info(body.local(state.name)))
            outputs.append(state.info(result))
        graph = body.graph(inputs, outputs)
        always = self.constant(
            True, np.bool_
        )  # nothing else keeps the first iteration from running
        starts = [state.start for state in states]
        return self.ops("Loop", max_iterations, always, *starts, outputs=len(states), body=graph)

    def graph(
        self, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]
    ) -> GraphProto:
        """Return the nodes so far as a graph."""
        return helper.make_graph(self.nodes, self.name, inputs, outputs)


# -- models ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GraphOptions:
    """What a graph depends on beside its `ModelSpec`, architecture and weights."""

    max_positions: int
    length_penalty: float = 0.6


BuildGraph = Callable[
    [ModelSpec, ArchConfig, Mapping[str, Array] | InitializerSource, GraphOptions | None],
    ModelProto,
]
"""A family's function from a model, an architecture and its weights to the graph."""


def make_model(
    builder: GraphBuilder, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]
) -> ModelProto:
    """Make a model of a graph; takes the initialisers out of the builder."""
    graph = builder.graph(inputs, outputs)
    domains = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
    model = helper.make_model(
        graph, opset_imports=domains, ir_version=IR_VERSION, producer_name="mosdeploy"
    )
    # last, and one by one: each step before, and a list of them, would be a copy of all weights
    for name in list(builder.initializers):
        model.graph.initializer.append(builder.initializers.pop(name))
    return model


def write_model(model: ModelProto, path: Path) -> None:
    """Write a model weight by weight, and take the weights out of it."""
    tensors = list(model.graph.initializer)
    del model.graph.initializer[:]
    with path.open("wb") as file:
        file.write(model.SerializeToString())
        # protobuf reads a message that comes in several parts as one
        for tensor in tensors:
            part = ModelProto()
            part.graph.initializer.append(tensor)
            file.write(part.SerializeToString())


def state_arrays(state_dict: Mapping[str, object]) -> dict[str, Array]:
    """Turn a torch network's `state_dict()` into float32 arrays, without importing torch."""
    return {
        # as float32 first: numpy has no bf16
        name: np.asarray(tensor.detach().float().cpu(), np.float32)  # type: ignore[attr-defined]
        for name, tensor in state_dict.items()
    }
