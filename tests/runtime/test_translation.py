import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import sentencepiece
from bundles import CONFIG, VOCAB_SIZE, sentences

from mosdeploy.runtime import FileMismatchError, ModelError, Translator
from mosdeploy.runtime.tokenizer import Pieces
from mosdeploy.runtime.translation import MAX_BATCH_POSITIONS, MAX_BATCH_ROWS, _by_length
from mosdeploy.storage import sha256_file

LONG = " ".join(f"{text}" for text in sentences(12, 5))


@pytest.fixture(scope="module")
def translator(fp32_bundle: Path) -> Translator:
    return Translator(fp32_bundle, threads=1)


def test_many_lines_answer_as_one_by_one_and_in_order(translator: Translator) -> None:
    lines = sentences(80, 3)
    found = translator.translate(lines)
    assert found == [translator.translate([line])[0] for line in lines]
    assert len(set(found)) > 20, "the test needs answers that differ"


def test_it_answers_what_the_manifest_says(translator: Translator) -> None:
    for test in translator.manifest.self_tests:
        assert translator.translate([test.source]) == [test.output]
        assert translator.translate_ids([test.source_ids]) == [list(test.output_ids)]


def test_an_empty_line_stays_empty(translator: Translator) -> None:
    found = translator.translate(["", "the cat.", "   ", "\t"])
    assert [bool(x) for x in found] == [False, True, False, False]
    assert translator.translate([]) == []


@pytest.mark.parametrize(
    "line", ["漢字 ☃ \U0001f600", "a\x00b", "the\u2028cat", "é" * 50, "\ufeff", "x" * 500]
)
def test_unknown_characters_and_controls_give_one_line(translator: Translator, line: str) -> None:
    (answer,) = translator.translate([line])
    assert len(answer.splitlines()) <= 1


def test_a_long_line_is_translated_in_parts_joined_by_a_space(translator: Translator) -> None:
    parts = translator.pieces.encode_parts(LONG, CONFIG.max_source_len)
    assert len(parts) > 2
    each = [translator.pieces.decode(ids) for ids in translator.translate_ids(parts)]
    assert translator.translate([LONG]) == [" ".join(text for text in each if text)]


def test_the_longest_source_fits_and_one_more_does_not(translator: Translator) -> None:
    assert translator.translate_ids([[4] * CONFIG.max_source_len])
    with pytest.raises(ModelError, match="could not run"):
        translator.translate_ids([[4] * (CONFIG.max_decode_steps + 40)])


def test_int8_translates(int8_bundle: Path) -> None:
    lines = sentences(20, 3)
    found = Translator(int8_bundle, threads=1).translate(lines)
    assert len(found) == 20 and len(set(found)) > 5


# -- splitting -------------------------------------------------------------------------------------
# --------------------


@pytest.fixture(scope="module")
def pieces(fp32_bundle: Path) -> Pieces:
    return Pieces(fp32_bundle / "tokenizer.model", VOCAB_SIZE)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 16])
@pytest.mark.parametrize(
    "line", [LONG, "the cat " * 20, "x" * 60, "a.b.c." * 9, "the cat。the roof！" * 4]
)
def test_parts_keep_the_limit_and_lose_nothing(pieces: Pieces, line: str, limit: int) -> None:
    parts = pieces.encode_parts(line, limit)
    assert all(1 <= len(part) <= limit for part in parts)
    joined = "".join(pieces.decode(part) for part in parts).replace(" ", "")
    assert joined == pieces.decode(pieces.encode(line)).replace(" ", "")


def test_parts_end_at_sentences_if_they_can(pieces: Pieces) -> None:
    texts = [pieces.decode(part) for part in pieces.encode_parts(LONG, 16)]
    assert len(texts) > 1 and all(text.endswith(".") for text in texts)


def test_parts_of_a_sentence_end_at_words(pieces: Pieces) -> None:
    line = "the cat sees a small red house and takes one book from its green roof"
    texts = [pieces.decode(part) for part in pieces.encode_parts(line, 7)]
    assert len(texts) > 1 and " ".join(texts) == line


def test_a_line_that_fits_is_one_part(pieces: Pieces) -> None:
    ids = pieces.encode("the cat. a house.")
    assert pieces.encode_parts("the cat. a house.", len(ids)) == [ids]
    assert len(pieces.encode_parts("the cat. a house.", len(ids) - 1)) == 2


# -- batches ---------------------------------------------------------------------------------------
# --------------------


def test_batches_hold_every_line_once_and_keep_their_limits() -> None:
    lengths = [(37 * i) % 400 for i in range(300)] + [5000]
    sources = [[4] * length for length in lengths]
    groups = _by_length(sources)
    assert sorted(i for group in groups for i in group) == list(range(301))
    for group in groups:
        widest = max(lengths[i] for i in group) + 1
        assert len(group) <= MAX_BATCH_ROWS and (
            len(group) == 1 or len(group) * widest <= MAX_BATCH_POSITIONS
        )
    assert len(groups) < 60


# -- bad bundles -----------------------------------------------------------------------------------
# --------------------


def replace(bundle: Path, edit: Callable, name: str, content: bytes) -> None:
    """Put another file in place, with a manifest that agrees: hashes prove nothing about who wrote
    both.
    """
    (bundle / name).write_bytes(content)
    edit(lambda data: None, rehash=True)


def test_a_model_that_is_none(bundle: Path, edit: Callable) -> None:
    for content, message in (
        (b"not a model", r"cannot load .*model\.onnx"),
        (b"", r"model\.onnx is empty"),
    ):
        replace(bundle, edit, "model.onnx", content)
        with pytest.raises(ModelError, match=message):
            Translator(bundle)


def test_a_model_with_other_inputs(bundle: Path, edit: Callable) -> None:
    value = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in "xy"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])], "g", value[:1], value[1:]
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8
    )
    replace(bundle, edit, "model.onnx", model.SerializeToString())
    with pytest.raises(ModelError, match="inputs and outputs"):
        Translator(bundle)


@pytest.mark.parametrize("location", ["inside.bin", "../secret.bin", "link", "absolute"])
def test_a_model_that_reads_another_file(bundle: Path, edit: Callable, location: str) -> None:
    model = onnx.load(bundle / "model.onnx")
    tensor = max(model.graph.initializer, key=lambda x: len(x.raw_data))
    secret = bundle.parent / "secret.bin"
    for path in (secret, bundle / "inside.bin"):
        path.write_bytes(tensor.raw_data)
    (bundle / "link").symlink_to(secret)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(
        key="location", value=str(secret) if location == "absolute" else location
    )
    replace(bundle, edit, "model.onnx", model.SerializeToString())
    with pytest.raises(ModelError, match="refers to other files"):
        Translator(bundle)


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
    bundle: Path, edit: Callable, operator: str, attributes: dict, kind: int, message: str
) -> None:
    old = onnx.load(bundle / "model.onnx")
    node = onnx.helper.make_node(operator, ["source_ids"], ["output_ids"], **attributes)
    output = onnx.helper.make_tensor_value_info("output_ids", kind, None)
    graph = onnx.helper.make_graph([node], "g", list(old.graph.input), [output])
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    replace(bundle, edit, "model.onnx", model.SerializeToString())
    with pytest.raises(ModelError, match=message):
        Translator(bundle).translate(["the cat.", "a red house."])


def test_a_tokenizer_that_is_none(bundle: Path, edit: Callable) -> None:
    replace(bundle, edit, "tokenizer.model", b"not a tokenizer")
    with pytest.raises(ModelError, match=r"SentencePiece cannot read .*tokenizer\.model"):
        Translator(bundle)


def test_a_tokenizer_of_another_size(bundle: Path, edit: Callable) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences(400, 0)),
        model_prefix=str(bundle.parent / "other"),
        vocab_size=50,
        minloglevel=2,
    )
    replace(bundle, edit, "tokenizer.model", (bundle.parent / "other.model").read_bytes())
    with pytest.raises(ModelError, match="holds 50 pieces, the manifest says 64"):
        Translator(bundle)


def test_an_unknown_provider(fp32_bundle: Path) -> None:
    with pytest.raises(ModelError, match="NoSuchExecutionProvider"):
        Translator(fp32_bundle, providers=["NoSuchExecutionProvider"])


# -- the other runtime
# -------------------------------------------------------------------------------------------------


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
    with pytest.raises(ModelError, match=r"tvm cannot be imported .* pip install 'apache-tvm"):
        Translator(bundle)
    with pytest.raises(ModelError, match="knows no ONNX Runtime providers"):
        Translator(bundle, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", ["model.so", "weights.bin"])
def test_a_library_or_weights_of_another_bundle_are_not_loaded(
    bundle: Path, edit: Callable, name: str
) -> None:
    make_tvm_bundle(bundle, edit)
    (bundle / name).write_bytes(b"another")
    with pytest.raises(FileMismatchError, match=name.replace(".", r"\.")):
        Translator(bundle)
    (bundle / name).unlink()
    (bundle / name).symlink_to(bundle / "tokenizer.model")
    with pytest.raises(FileMismatchError, match="is not a regular file"):
        Translator(bundle)
