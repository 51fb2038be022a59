"""A graph under construction, the model that is made of it, and the file that holds that."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

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

from ...errors import ExportError
from ...spaces.genes import ArchConfig
from ...spaces.spec import ModelSpec

Array = npt.NDArray[np.float32]

WEIGHTS_NAME = "weights.bin"
"""File beside a candidate that holds its weights; the device fills it with random numbers once."""

ALIGNMENT_BYTES = 64


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and element type of one initialiser."""

    name: str
    shape: tuple[int, ...]
    dtype: type[np.generic] = np.float32

    @property
    def num_bytes(self) -> int:
        """Length of the values."""
        # a scalar has shape (), whose product is 1
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    @property
    def onnx_type(self) -> int:
        """Element type as ONNX numbers it."""
        return helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))


Lookup = Callable[[str, tuple[int, ...]], Array]
"""Name and expected shape of a weight to its values."""

Compute = Callable[[Lookup], tuple[npt.NDArray[np.generic], ...]]
"""Makes the values of initialisers from weights that it looks up."""


class InitializerSource(Protocol):
    """Makes initialisers."""

    def tensors(self, specs: Sequence[TensorSpec], compute: Compute) -> list[TensorProto]:
        """Make the initialisers `specs`, whose values `compute` derives from the state dict."""


class InlineInitializers:
    """Inline initialisers from an extracted subnet's state dict (name -> float array, shapes as
    PyTorch has them).
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays

    def tensors(self, specs: Sequence[TensorSpec], compute: Compute) -> list[TensorProto]:
        """Compute the values and store them in the tensors."""
        made = []
        for spec, array in zip(specs, compute(self.lookup), strict=True):
            # ONNX Runtime would fail much later, at the operator that reads it
            if array.shape != spec.shape:
                raise ExportError(
                    f"initialiser {spec.name} came out as {array.shape}, expected {spec.shape}"
                )
            tensor = _header(spec)
            # ONNX stores raw data little-endian, whatever this machine does
            little_endian = np.dtype(spec.dtype).newbyteorder("<")
            tensor.raw_data = np.ascontiguousarray(array, dtype=little_endian).tobytes()
            made.append(tensor)
        return made

    def lookup(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return one weight, checked; raises as `tensors` does."""
        if name not in self._arrays:
            raise ExportError(
                f"the subnet has no weight '{name}'; extract it anew from the supernet"
            )
        # no copy where the array is float32 already
        array = np.asarray(self._arrays[name], dtype=np.float32)
        if array.shape != shape:
            raise ExportError(
                f"weight '{name}' is {array.shape}, but the architecture asks for {shape}"
            )
        # a graph with NaN in it loads and runs, and only its answers are wrong
        if not np.isfinite(array).all():
            raise ExportError(
                f"weight '{name}' holds NaN or infinity; the training diverged: "
                "run `mosdeploy train` anew"
            )
        return array


class ExternalInitializers:
    """External initialisers at distinct aligned offsets of one file, which need not exist here."""

    def __init__(self) -> None:
        self.size_bytes = 0

    def tensors(self, specs: Sequence[TensorSpec], compute: Compute) -> list[TensorProto]:
        """Reserve a place in the file for each tensor; `compute` is not called."""
        return [self._reserve(spec) for spec in specs]

    def _reserve(self, spec: TensorSpec) -> TensorProto:
        tensor = _header(spec)
        tensor.data_location = TensorProto.EXTERNAL
        # ONNX wants the numbers as text; the place is relative to the model's folder
        place = {
            "location": WEIGHTS_NAME,
            "offset": str(self.size_bytes),
            "length": str(spec.num_bytes),
        }
        for key, value in place.items():
            tensor.external_data.add(key=key, value=value)
        # the next tensor starts at a multiple of ALIGNMENT_BYTES, so that no kernel reads unaligned
        self.size_bytes += -(-spec.num_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        return tensor


class NoInitializers:
    """Tensors without data: what is left is the size of everything else."""

    def tensors(self, specs: Sequence[TensorSpec], compute: Compute) -> list[TensorProto]:
        """Make empty tensors; `compute` is not called."""
        return [_header(spec) for spec in specs]


def _header(spec: TensorSpec) -> TensorProto:
    # all but the values, so that the graph around them is the same with and without
    return TensorProto(name=spec.name, dims=spec.shape, data_type=spec.onnx_type)


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
