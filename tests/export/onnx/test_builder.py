import numpy as np
import pytest
from onnx import TensorProto
from onnx_parts import run_part

from mosdeploy.export.onnx.builder import GraphBuilder, LoopState
from mosdeploy.export.onnx.initializers import InlineInitializers, TensorSpec


def make_builder(**weights: np.ndarray) -> GraphBuilder:
    return GraphBuilder(InlineInitializers(weights), "part")


def test_every_tensor_has_a_name_of_its_own() -> None:
    builder = make_builder()
    body = builder.body("step")
    names = [*builder.ops("Split", "x", outputs=2), builder.op("Neg", "x"), body.op("Neg", "x")]
    assert names == ["1", "1.1", "2", "step.1"]


def test_equal_constants_are_stored_once() -> None:
    builder = make_builder()
    first = builder.constant([1, 2])
    assert builder.body("step").constant((1, 2)) == first
    assert builder.constant([1, 2], np.float32) != first and builder.constant([[1, 2]]) != first
    assert len(builder.initializers) == 3


def test_large_constants_are_told_apart() -> None:
    builder = make_builder()
    values = np.arange(100)
    assert builder.constant(values) == builder.constant(values.copy())
    assert builder.constant(values) != builder.constant(values[::-1])


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


def test_a_loop_by_hand() -> None:
    left, total = run_part({}, count_down, np.array(10), np.array(100))
    assert (left, total) == (-2, 0 + 1 + 2 + 3)


def test_a_loop_stops_at_its_limit() -> None:
    left, total = run_part({}, count_down, np.array(10), np.array(2))
    assert (left, total) == (4, 0 + 1)


def test_no_iteration_gives_the_starts() -> None:
    left, total = run_part({}, count_down, np.array(10), np.array(0))
    assert (left, total) == (10, 0)


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
