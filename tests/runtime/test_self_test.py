from collections.abc import Callable
from pathlib import Path

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


def test_scores_are_the_same_up_to_rounding() -> None:
    assert is_same([0.5, 1.0], [0.5005, 1.0])
    assert not is_same([0.5, 1.0], [0.502, 1.0])
    assert not is_same([0.5], [0.5, 1.0])
    assert not is_same([3, 4], [3, 5])
