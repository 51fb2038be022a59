import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from bundles import LIMITS, VOCAB_SIZE, sentences
from encoder_bundles import edit_manifest

from mosdeploy.runtime import FileMismatchError, InputError, ModelError, Translator, open_model
from mosdeploy.runtime.errors import LineError
from mosdeploy.runtime.translation import LETTERS_A_TOKEN, batch_limits
from mosdeploy.storage import sha256_file

LONG = " ".join(sentences(12, 5))


@pytest.fixture(scope="module")
def translator(fp32_bundle: Path) -> Translator:
    return Translator(fp32_bundle, threads=1)


def test_many_lines_answer_as_one_by_one_and_in_order(translator: Translator) -> None:
    lines = sentences(80, 3)
    found = translator.predict(lines)
    assert found == [translator.predict([line])[0] for line in lines]
    assert len(set(found)) > 20, "the test needs answers that differ"


@pytest.mark.parametrize(
    "line", ["漢字 ☃ \U0001f600", "a\x00b", "the\u2028cat", "é" * 50, "\ufeff", "x" * 500]
)
def test_unknown_characters_and_controls_give_one_line(translator: Translator, line: str) -> None:
    (answer,) = translator.predict([line])
    assert len(answer.splitlines()) <= 1


def test_a_long_line_is_translated_in_parts_joined_by_a_space(translator: Translator) -> None:
    parts = translator.tokenizer.encode_parts(LONG, LIMITS.max_source_len)
    assert len(parts) > 2
    each = [translator.tokenizer.decode(ids) for ids in translator.predict_ids(parts)]
    assert translator.predict([LONG]) == [" ".join(text for text in each if text)]


def test_what_is_cut_at_the_most_steps_is_unfinished(translator: Translator) -> None:
    lines = [*sentences(80, 3), LONG]
    lengths = [max(map(len, parts)) for parts in translator.predict_parts(lines)]
    is_cut = [length == LIMITS.max_decode_steps for length in lengths]
    answers = translator.answer(lines)
    assert [answer.get("is_unfinished", False) for answer in answers] == is_cut
    assert {True, False} == set(is_cut), "the test needs sentences that end, and some that do not"


def test_what_is_no_line_is_refused_and_named(translator: Translator) -> None:
    with pytest.raises(InputError, match="is one text, not a list"):
        translator.predict("the cat")
    most = LETTERS_A_TOKEN * LIMITS.max_source_len
    with pytest.raises(LineError, match=f"{most:,} of a line at most") as caught:
        translator.answer(["the cat", "x" * (most + 1)])
    assert caught.value.line == "x" * (most + 1)
    assert translator.predict(["x" * most])


@pytest.mark.parametrize("vocab_size", [64, 32_000, 10**6])
@pytest.mark.parametrize("beam", [1, 4, 5, 64])
def test_a_wide_beam_and_a_large_vocabulary_have_fewer_rows(beam: int, vocab_size: int) -> None:
    rows, positions = batch_limits(beam, vocab_size)
    assert 1 <= rows <= 32 and 1 <= positions <= 2048
    assert rows == 1 or rows * beam * vocab_size <= 32 * 4 * 2**15
    assert positions * beam <= 4 * 2048


def test_calls_keep_the_limits(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = sentences(8, 3)
    expected = translator.predict(lines)
    sizes: list[int] = []
    engine = translator._engine.translate
    monkeypatch.setattr(
        translator._engine, "translate", lambda rows: sizes.append(len(rows)) or engine(rows)
    )
    monkeypatch.setattr("mosdeploy.runtime.translation.MAX_BATCH_LOGITS", 3 * VOCAB_SIZE)
    assert translator.predict(lines) == expected
    assert sizes == [3, 3, 2]


@pytest.mark.parametrize("name", ["bundle", "encoder_bundle"])
@pytest.mark.parametrize(("asked", "expected"), [(None, 3), (2, 2)])
def test_it_runs_on_as_many_threads_as_it_was_measured_with(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    asked: int | None,
    expected: int,
) -> None:
    folder = request.getfixturevalue(name)
    edit_manifest(folder, lambda data: data["workload"].update(threads=3))
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    found = []
    load = onnxruntime.InferenceSession

    def recorded(path: str, options: Any, **given: Any) -> object:
        found.append(options.intra_op_num_threads)
        return load(path, options, **given)

    monkeypatch.setattr(onnxruntime, "InferenceSession", recorded)
    assert open_model(folder, asked).predict(["the cat."])
    assert found == [expected]


# -- raw inputs, for timing ------------------------------------------------------------------------


def raw_inputs(ids: list[int], num_steps: int) -> dict[str, np.ndarray]:
    steps = np.array(num_steps, np.int64)
    return {"source_ids": np.array([ids], np.int64), "max_steps": steps, "min_steps": steps}


def test_a_run_makes_exactly_so_many_steps(fp32_bundle: Path) -> None:
    model = open_model(fp32_bundle, threads=1)
    for num_steps in (0, 1, 7):
        (output,) = model.run(raw_inputs([5, 9, 3], num_steps))
        assert output.shape == (1, num_steps)


def test_a_run_on_other_inputs_is_refused(translator: Translator) -> None:
    with pytest.raises(ModelError, match=r"takes source_ids, max_steps, min_steps, not \['x'\]"):
        translator.run({"x": np.zeros(1, np.int64)})


# -- bad bundles -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operator", "attributes", "kind", "message"),
    [
        ("Cast", {"to": onnx.TensorProto.FLOAT}, onnx.TensorProto.FLOAT, "with float32"),
        ("Flatten", {"axis": 0}, onnx.TensorProto.INT64, r"of shape \(1, "),
        ("ReduceSum", {"keepdims": 0}, onnx.TensorProto.INT64, r"of shape \(\)"),
        ("Neg", {}, onnx.TensorProto.INT64, "ids from -"),
    ],
)
def test_a_model_that_answers_with_no_ids(
    bundle: Path, replace: Callable, operator: str, attributes: dict, kind: int, message: str
) -> None:
    old = onnx.load(bundle / "model.onnx")
    node = onnx.helper.make_node(operator, ["source_ids"], ["output_ids"], **attributes)
    output = onnx.helper.make_tensor_value_info("output_ids", kind, None)
    graph = onnx.helper.make_graph([node], "g", list(old.graph.input), [output])
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    replace("model.onnx", model.SerializeToString())
    with pytest.raises(ModelError, match=message):
        Translator(bundle).predict(["the cat.", "a red house."])


# -- the other runtime -----------------------------------------------------------------------------


def make_tvm_bundle(bundle: Path, edit: Callable) -> None:
    (bundle / "model.onnx").rename(bundle / "model.so")
    (bundle / "weights.bin").write_bytes(b"")

    def change(data: dict) -> None:
        hashes = {
            name: sha256_file(bundle / name)
            for name in ("model.so", "weights.bin", "tokenizer.model")
        }
        data.update(runtime="tvm", sha256=hashes)

    edit(change)


def test_a_bundle_for_tvm_asks_for_tvm(
    bundle: Path, edit: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tvm_bundle(bundle, edit)
    monkeypatch.setitem(sys.modules, "tvm", None)
    monkeypatch.delitem(sys.modules, "mosdeploy.runtime.tvm_engine", raising=False)
    with pytest.raises(ModelError, match=r"package is missing .* pip install 'apache-tvm"):
        Translator(bundle)
    with pytest.raises(ModelError, match="knows no ONNX Runtime providers"):
        Translator(bundle, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", ["model.so", "weights.bin"])
def test_a_library_of_another_bundle_is_not_loaded(bundle: Path, edit: Callable, name: str) -> None:
    make_tvm_bundle(bundle, edit)
    (bundle / name).write_bytes(b"another")
    with pytest.raises(FileMismatchError, match=name.replace(".", r"\.")):
        Translator(bundle)
    (bundle / name).unlink()
    (bundle / name).symlink_to(bundle / "tokenizer.model")
    with pytest.raises(FileMismatchError, match="is not a regular file"):
        Translator(bundle)
