"""Models: a built graph as a `ModelProto`, and the file that holds it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto, ValueInfoProto, helper

from ...spaces.genes import ArchConfig
from ...spaces.spec import ModelSpec
from .builder import CONTRIB, GraphBuilder
from .initializers import Array, InitializerSource

OPSET = 18
IR_VERSION = 8
"""Opset and file version that ONNX Runtime has read since 1.14, so that older devices can."""


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
