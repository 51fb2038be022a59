from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from mosdeploy.runtime import Translator
from mosdeploy.runtime.self_test import is_same, run_self_test


def change_ids(count: int) -> Callable[[dict], None]:
    """Change so many of the expected ids, spread over the sentences."""

    def change(data: dict) -> None:
        tests = [test for test in data["self_test"] if test["answer"]]
        for k in range(count):
            ids = tests[k % len(tests)]["answer"]
            ids[k // len(tests) % len(ids)] ^= 1

    return change


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_bundle_passes_where_it_was_made(
    fp32_bundle: Path, int8_bundle: Path, precision: str
) -> None:
    result = run_self_test(
        Translator(fp32_bundle if precision == "fp32" else int8_bundle, threads=1)
    )
    assert (result.passed, result.agreement, result.failures) == (True, 1.0, ())


def test_fp32_fails_on_one_id(bundle: Path, edit: Callable) -> None:
    edit(change_ids(1))
    result = run_self_test(Translator(bundle))
    assert not result.passed and result.agreement < 1
    assert [
        "spelt" in result.failures[0],
        "answered" in result.failures[1],
        len(result.failures),
    ] == [True, True, 2]


def test_int8_bears_a_few_ids_but_not_many(bundle: Path, edit: Callable) -> None:
    def as_int8(count: int) -> Callable[[dict], None]:
        def change(data: dict) -> None:
            data["precision"] = "int8"
            change_ids(count)(data)
            for test in data["self_test"]:
                test["output"] = translator.tokenizer.decode(test["answer"])

        return change

    translator = Translator(bundle)
    edit(as_int8(1))
    result = run_self_test(Translator(bundle))
    assert result.passed and 0.8 <= result.agreement < 1
    edit(as_int8(12))
    result = run_self_test(Translator(bundle))
    assert not result.passed and "0.8 is needed" in result.failures[0]


def test_another_tokenizer_is_noticed(bundle: Path, edit: Callable) -> None:
    edit(
        lambda data: data["self_test"][0].update(input="another sentence", output="another answer")
    )
    failures = run_self_test(Translator(bundle)).failures
    assert ["splits" in failures[0], "spelt" in failures[1], len(failures)] == [True, True, 2]


def test_padding_that_is_read_is_noticed(bundle: Path, edit: Callable) -> None:
    """As ONNX Runtime before 1.21 does with some masks: no sentence alone shows it."""
    model = onnx.load(bundle / "model.onnx")
    for tensor in model.graph.initializer:
        if tensor.name == "float32[]-1000000000.0":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.float32(0), tensor.name))
    onnx.save(model, bundle / "model.onnx")
    edit(lambda data: None, rehash=True)
    failures = run_self_test(Translator(bundle)).failures
    assert len(failures) == 1 and "together" in failures[0]


@pytest.mark.parametrize(
    ("found", "expected", "same"),
    [
        ([0.5, 1.0], [0.5005, 1.0], True),
        ([0.5, 1.0], [0.502, 1.0], False),
        ([0.5], [0.5, 1.0], False),
        ([3, 4], [3, 5], False),
        ([5000.02], [5000.0], True),
        ([5000.2], [5000.0], False),
        # as a manifest may write them
        ([0.5], [2**70], False),
        ([float(2**70)], [2**70], True),
    ],
)
def test_scores_are_the_same_up_to_rounding(
    found: list[float], expected: list[float], same: bool
) -> None:
    assert is_same(found, expected) == same


class Numbers:
    """A bundle in int8 whose text is the number of its answer; no file is read."""

    tokenizer = SimpleNamespace(encode=lambda text: [int(text)])
    decode = staticmethod(str)

    def __init__(
        self, expected: list[list[float]], found: list[list[float]], **settings: float | str
    ) -> None:
        self.found = found
        tests = [
            SimpleNamespace(input=str(i), input_ids=(i,), answer=answer, output=str(answer))
            for i, answer in enumerate(expected)
        ]
        self.manifest = SimpleNamespace(self_tests=tests, precision="int8", settings=settings)

    def predict_ids(self, inputs: list[tuple[int]]) -> list[list[float]]:
        return [self.found[number] for (number,) in inputs]


def test_one_score_near_zero_does_not_fail_all() -> None:
    """Beside itself it differs three times over; beside all answers it is next to nothing."""
    expected = [[0.80], [-0.43], [0.004]]
    result = run_self_test(Numbers(expected, [[0.81], [-0.42], [0.012]]))
    assert result.passed
    distance, size = np.linalg.norm([0.01, 0.01, 0.008]), np.linalg.norm([0.80, 0.43, 0.004])
    assert result.agreement == pytest.approx(1 - distance / size, abs=1e-4)
    assert not run_self_test(Numbers(expected, [[0.40], [-0.42], [0.012]])).passed
    # as many numbers in all, but not in each answer
    shifted = run_self_test(Numbers([[1.0, 2.0], [3.0]], [[1.0], [2.0, 3.0]]))
    assert not shifted.passed and shifted.agreement == 0


def test_labels_far_from_zero_are_compared_in_their_spread() -> None:
    """A model that answers the mean whatever it is asked is beside 2,000 right to 99.5%."""
    scale = {"kind": "regression", "center": 2005.0, "spread": 10.0}
    years = [[1995.0], [2015.0], [2004.0]]
    assert not run_self_test(Numbers(years, [[2005.0]] * 3, **scale)).passed
    assert run_self_test(Numbers(years, [[2005.0]] * 3)).passed  # without the scale nobody sees it
    assert run_self_test(Numbers(years, [[1995.8], [2014.0], [2004.5]], **scale)).passed
    # of another kind of task they mean nothing, and are not checked
    huge = {"kind": "classification", "center": 0, "spread": 10**400}
    assert not run_self_test(Numbers(years, [[5.0]] * 3, **huge)).passed
    # answers that are all near the center count as one spread, not as next to nothing
    near = run_self_test(Numbers([[2005.1], [2004.8]], [[2005.6], [2004.3]], **scale))
    assert near.agreement == pytest.approx(0.95)


class Leaking(Numbers):
    """The same, whose answers are turned around, or made smaller, by what is beside them."""

    factor = -1.0

    def predict_ids(self, inputs: list[tuple[int]]) -> list[list[float]]:
        factor = 1 if len(inputs) == 1 else self.factor
        return [[factor * x for x in row] for row in super().predict_ids(inputs)]


def test_scores_in_int8_that_depend_on_their_neighbours_are_noticed() -> None:
    scores = [[0.8, -0.4], [0.5, 0.1]]
    (failure,) = run_self_test(Leaking(scores, scores)).failures
    assert failure.startswith("the examples answered together, padded, are not answered as each")
    # ids are those of a translation, which may depend on them in int8
    assert run_self_test(Leaking([[4], [6]], [[4], [6]])).passed


@pytest.mark.parametrize(
    ("precision", "factor", "passes"),
    [
        ("int8", 0.85, True),
        ("int8", 0.75, False),
        ("fp32", 1.0005, True),
        ("fp32", 1.005, False),
    ],
)
def test_answers_together_are_held_against_each_alone_as_against_the_manifest(
    precision: str, factor: float, passes: bool
) -> None:
    scores = [[0.8, -0.4], [0.5, 0.1]]
    model = Leaking(scores, scores)
    model.manifest.precision = precision
    model.factor = factor
    result = run_self_test(model)
    assert (result.passed, result.agreement) == (passes, 1.0)
