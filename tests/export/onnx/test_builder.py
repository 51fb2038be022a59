"""Graphs under construction, loops and branches run, and models in files."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, checker, helper
from onnx_parts import run_part

from mosdeploy.errors import ExportError
from mosdeploy.export.onnx.builder import (
    CONTRIB,
    ExternalInitializers,
    GraphBuilder,
    InlineInitializers,
    LoopState,
    TensorSpec,
    make_model,
    write_model,
)
from mosdeploy.export.onnx.linear import LinearLayer

SPECS = [TensorSpec("a", (3, 5)), TensorSpec("b", (7,), np.int8), TensorSpec("c", (2,))]


def fail(get) -> tuple:
    raise AssertionError("no value is asked for")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "no weight 'w'"),
        ({"w": np.zeros(3, np.float32)}, r"'w' is \(3,\).* asks for \(4,\)"),
        ({"w": np.full(4, np.inf, np.float32)}, "NaN or infinity"),
    ],
)
def test_weights_that_do_not_fit(weights: dict, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        InlineInitializers(weights).lookup("w", (4,))


def test_external_tensors_lie_aligned_by_hand() -> None:
    source = ExternalInitializers()
    made = [{x.key: x.value for x in t.external_data} for t in source.tensors(SPECS, fail)]
    assert [(x["offset"], x["length"]) for x in made] == [("0", "60"), ("64", "7"), ("128", "8")]
    assert source.size_bytes == 192


def make_builder(**weights: np.ndarray) -> GraphBuilder:
    return GraphBuilder(InlineInitializers(weights), "part")


def test_equal_constants_are_stored_once() -> None:
    builder = make_builder()
    first = builder.constant([1, 2])
    assert builder.body("step").constant((1, 2)) == first
    assert builder.constant([1, 2], np.float32) != first and builder.constant([[1, 2]]) != first
    assert len(builder.initializers) == 3


def test_a_parameter_is_computed_once() -> None:
    calls = []

    def compute(get) -> tuple[np.ndarray]:
        calls.append("computed")
        return (get("w", (2,)),)

    builder = make_builder(w=np.ones(2, np.float32))
    spec = TensorSpec("w", (2,))
    body = builder.body("step")
    assert builder.parameters([spec], compute) == body.parameters([spec], compute) == ["w"]
    assert calls == ["computed"]


def count_down(builder: GraphBuilder, start: str, limit: str) -> list[str]:
    """A loop that takes 3 off until nothing is left, and adds the numbers of the iterations."""
    zero = builder.constant(0)
    states = [
        LoopState("left", start, TensorProto.INT64, ()),
        LoopState("sum", zero, TensorProto.INT64, ()),
    ]
    body = builder.body("step")
    left = body.op("Sub", body.local("left"), body.constant(3))
    total = body.op("Add", body.local("sum"), body.local("index"))
    return builder.loop(body, states, [left, total], body.op("Greater", left, zero), limit)


@pytest.mark.parametrize(
    ("limit", "left", "total"), [(100, -2, 0 + 1 + 2 + 3), (2, 4, 0 + 1), (0, 10, 0)]
)
def test_a_loop_by_hand(limit: int, left: int, total: int) -> None:
    assert run_part({}, count_down, np.array(10), np.array(limit)) == [left, total]


def test_a_tensor_for_each_number() -> None:
    """The numbers' squares, one behind another, from a sequence that another loop has made."""

    def emit(builder: GraphBuilder, count: str) -> str:
        def number(body: GraphBuilder, index: str) -> str:
            row = body.op("Unsqueeze", index, body.constant([0]))
            return body.op("Cast", row, to=TensorProto.FLOAT)

        numbers = builder.for_each("numbers", count, (1,), number)

        def square(body: GraphBuilder, index: str) -> str:
            one = body.op("SequenceAt", numbers, index)
            return body.op("Mul", one, one)

        squares = builder.for_each("squares", count, (1,), square)
        return builder.op("ConcatFromSequence", squares, axis=0)

    (found,) = run_part({}, emit, np.array(4))
    assert found.tolist() == [0, 1, 4, 9]


@pytest.mark.parametrize(("x", "expected"), [(3.0, 6.0), (-3.0, 0.0)])
def test_a_branch_by_hand(x: float, expected: float) -> None:
    def emit(builder: GraphBuilder, x: str) -> str:
        is_positive = builder.op("Greater", x, builder.constant(0.0, np.float32))
        return builder.branch(
            "sign", is_positive, lambda body: body.op("Add", x, x), lambda body: body.op("Relu", x)
        )

    assert run_part({}, emit, np.array(x, np.float32)) == [expected]


def make_linear() -> tuple[GraphBuilder, ModelProto]:
    weights = {"fc.a.weight": np.eye(4, dtype=np.float32), "fc.a.bias": np.ones(4, np.float32)}
    builder = GraphBuilder(InlineInitializers(weights), "linear")
    y = LinearLayer("fc", ("a",), 4, 4, "fp32").apply(builder, "x")
    x_info = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
    y_info = helper.make_tensor_value_info(y, TensorProto.FLOAT, ["N", 4])
    return builder, make_model(builder, [x_info], [y_info])


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    builder, model = make_linear()
    checker.check_model(model)
    assert model.graph.name == "linear" and model.producer_name == "mosdeploy"
    assert {(x.domain, x.version) for x in model.opset_import} == {("", 18), (CONTRIB, 1)}
    assert not builder.initializers, "the weights are in the model alone"
    write_model(model, tmp_path / "model.onnx")
    assert onnx.load(tmp_path / "model.onnx") == make_linear()[1]
    assert not model.graph.initializer, "no copy of the weights is left"
