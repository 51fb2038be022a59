"""An encoder answers as its network does: one by one, together, in windows."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from encoder_bundles import (
    CLS_ID,
    MAX_INPUT_LEN,
    PIECES,
    SEP_ID,
    TEXTS,
    edit_manifest,
    encoder_config,
    export_encoder,
    in_numpy,
)

from mosdeploy.runtime import Encoder, InputError, ModelError, open_model
from mosdeploy.runtime.encoder import answer_of, best_places, decode_answer, tags_of
from mosdeploy.runtime.manifest import EncoderSettings
from mosdeploy.runtime.self_test import run_self_test
from mosdeploy.runtime.wordpieces import Pieces

KINDS = ("classification", "regression", "tagging", "embedding")


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Encoder]:
    folders = {kind: export_encoder(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}
    return {kind: open_model(folder, threads=1) for kind, folder in folders.items()}


@pytest.fixture(scope="module")
def int8_encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = tmp_path_factory.mktemp("int8")
    return Encoder(export_encoder(folder, "classification", "int8"), threads=1)


# -- the law: it answers as the network does -------------------------------------------------------


def random_inputs(seed: int, count: int = 40) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, MAX_INPUT_LEN - 2, count)
    return [[CLS_ID, *rng.integers(4, len(PIECES), n).tolist(), SEP_ID] for n in lengths]


@pytest.mark.parametrize("kind", KINDS)
def test_many_inputs_are_answered_as_by_the_network(
    encoders: dict[str, Encoder], kind: str
) -> None:
    inputs = random_inputs(0)
    found = encoders[kind].predict_ids(inputs)
    expected = in_numpy(encoder_config(kind), inputs)
    for row, answer in zip(found, expected, strict=True):
        assert row == pytest.approx(answer, abs=5e-5)
    assert len({tuple(np.round(row, 3)) for row in found}) > 20


def test_in_int8_no_line_depends_on_those_beside_it(int8_encoder: Encoder) -> None:
    inputs = random_inputs(1)
    alone = [int8_encoder.predict_ids([ids])[0] for ids in inputs]
    assert int8_encoder.predict_ids(inputs) == alone
    expected = in_numpy(encoder_config("classification"), inputs)
    likeness = np.corrcoef(np.ravel(alone), np.ravel(expected))[0, 1]
    assert 0.98 < likeness < 1


def watch_calls(encoder: Encoder) -> list[tuple[int, int]]:
    """Rows and positions of each call of the model from now on."""
    shapes: list[tuple[int, int]] = []
    run = encoder._session.run

    def watched(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        shapes.append(inputs["input_ids"].shape)
        return run(inputs)

    encoder._session.run = watched  # type: ignore[method-assign]
    return shapes


@pytest.mark.parametrize(
    ("texts_per_call", "inputs", "calls"),
    [
        (16, random_inputs(2), [16, 16, 8]),
        # rows are computed one after another: no cache or memory has to hold all of them
        (64, [[CLS_ID, *range(5, 13), SEP_ID]] * 128, [64, 64]),
    ],
)
def test_in_int8_lines_share_a_call_as_in_the_workload(
    int8_encoder: Encoder, tmp_path: Path, texts_per_call: int, inputs: list, calls: list[int]
) -> None:
    folder = export_encoder(tmp_path, "classification", "int8")
    edit_manifest(folder, lambda data: data["settings"].update(texts_per_call=texts_per_call))
    encoder = Encoder(folder, threads=1)
    shapes = watch_calls(encoder)
    assert encoder.predict_ids(inputs) == [int8_encoder.predict_ids([ids])[0] for ids in inputs]
    assert [rows for rows, _ in shapes] == calls


@pytest.mark.parametrize("kind", KINDS)
def test_the_self_test_passes(encoders: dict[str, Encoder], kind: str) -> None:
    result = run_self_test(encoders[kind])
    assert result.passed and result.agreement > 0.9999, result.failures


# -- lines -----------------------------------------------------------------------------------------


def test_lines_are_answered_in_order_and_empty_ones_stay_empty(
    encoders: dict[str, Encoder],
) -> None:
    encoder = encoders["classification"]
    found = encoder.predict(["", *TEXTS, "  \t "])
    assert found[0] == found[-1] == ""
    assert found[1:-1] == [encoder.predict([text])[0] for text in TEXTS]
    assert set(found[1:-1]) <= {"bad", "fair", "good"} and len(set(found[1:-1])) > 1
    assert encoder.predict([]) == encoder.answer([]) == []


def test_a_word_has_the_tag_of_its_first_piece(encoders: dict[str, Encoder]) -> None:
    encoder = encoders["tagging"]
    line = "ann  sees paris."  # pieces: ann see ##s paris .
    (ids,) = (encoder.tokenizer.encode(line),)
    assert [PIECES[i] for i in ids[1:-1]] == ["ann", "see", "##s", "paris", "."]
    of_pieces = encoder.decode(encoder.predict_ids([ids])[0]).split()
    assert len(of_pieces) == 7
    (found,) = encoder.predict([line])
    assert found.split() == [of_pieces[1], of_pieces[2], of_pieces[4]]
    (answer,) = encoder.answer([line])
    assert answer["tags"] == found.split()
    for entity in answer["entities"]:
        assert line[entity["start"] : entity["end"]] == entity["text"]


SPACES = ["  ", "\t", "\x0b", "\x0c", "\x1c", "\x1f", "\x85", "\u00a0", "\u2003"]


@pytest.mark.parametrize("space", SPACES, ids=ascii)
def test_words_are_tagged_alike_whatever_is_between_them(
    encoders: dict[str, Encoder], space: str
) -> None:
    """As in training. Some tokenizers delete control characters, and would join the words."""
    encoder = encoders["tagging"]
    line = "ann sees paris the cats sees"
    (expected,) = encoder.answer([line])
    assert len(expected["tags"]) == 6 and expected["entities"]
    other = f" {line.replace(' ', space)} "
    (found,) = encoder.answer([other])
    assert found["tags"] == expected["tags"]
    for entity, same in zip(found["entities"], expected["entities"], strict=True):
        assert other[entity["start"] : entity["end"]] == entity["text"]
        assert " ".join(entity["text"].split()) == same["text"]


def test_a_long_line_is_cut_and_says_so(encoders: dict[str, Encoder]) -> None:
    line = "the cat " * 8
    for kind in KINDS:
        (short,) = encoders[kind].answer(["the cat"])
        (long,) = encoders[kind].answer([line])
        assert long["is_cut"] and "is_cut" not in short
    assert len(encoders["tagging"].tokenizer.encode(line)) == MAX_INPUT_LEN
    tags = encoders["tagging"].predict([line])[0].split()
    assert len(tags) == 16 and set(tags[MAX_INPUT_LEN - 2 :]) == {"O"}


# -- windows ---------------------------------------------------------------------------------------

LONG_LINE = " ".join(TEXTS)


@pytest.fixture(scope="module")
def windowing(
    encoders: dict[str, Encoder], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Encoder]:
    folders = {kind: export_encoder(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}
    return {kind: open_model(folders[kind], threads=1, long="window") for kind in KINDS}


@pytest.mark.parametrize("kind", ["classification", "regression", "embedding"])
def test_a_long_line_is_the_mean_of_its_windows(windowing: dict[str, Encoder], kind: str) -> None:
    encoder = windowing[kind]
    windows = encoder.tokenizer.split_whole(LONG_LINE)
    ids = [window.ids for window in windows]
    mean = np.average(encoder.predict_ids(ids), axis=0, weights=[len(x) - 2 for x in ids])
    assert len(windows) > 4 and len({len(x) for x in ids}) > 1
    short, found = encoder.answer(["the cat", LONG_LINE])
    assert found["num_windows"] == len(windows)
    assert "is_cut" not in found and "num_windows" not in short
    if kind == "classification":
        shares = np.exp(mean) / np.exp(mean).sum()
        assert list(found["scores"].values()) == pytest.approx(shares, abs=1e-6)
    elif kind == "regression":
        assert found["value"] == pytest.approx(mean[0])
    else:
        assert found["vector"] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


def test_all_words_of_a_long_line_are_tagged(windowing: dict[str, Encoder]) -> None:
    encoder = windowing["tagging"]
    (found,) = encoder.answer([LONG_LINE])
    words = LONG_LINE.split()
    assert len(found["tags"]) == len(words) and len(found["entities"]) > 5
    starts = [place["start"] for place in found["entities"]]
    assert starts == sorted(starts) and starts[-1] > len(LONG_LINE) // 2
    for entity in found["entities"]:
        assert LONG_LINE[entity["start"] : entity["end"]] == entity["text"]
    # the first and the last words stand at the ends of their windows, as in the line
    windows = encoder.tokenizer.split_whole(LONG_LINE)
    first, last = (encoder.decode(encoder.predict_ids([windows[i].ids])[0]) for i in (0, -1))
    assert found["tags"][0] == first.split()[1]
    last_word = windows[-1].spans.index((LONG_LINE.rindex(words[-1]), len(LONG_LINE)))
    assert found["tags"][-1] == last.split()[last_word]


@pytest.mark.parametrize(
    "line", ["漢字 ☃ \U0001f600", "a\x00b", "the\u2028cat", "é" * 50, "\ufeff", "x" * 500]
)
@pytest.mark.parametrize("kind", KINDS)
def test_any_characters_give_one_line(
    encoders: dict[str, Encoder], windowing: dict[str, Encoder], kind: str, line: str
) -> None:
    for encoder in (encoders[kind], windowing[kind]):
        (answer,) = encoder.predict([line])
        assert len(answer.splitlines()) <= 1


def test_the_command_line_reads_json_and_tells_the_time(encoder_bundle: Path) -> None:
    def run(lines: str, *options: str) -> subprocess.CompletedProcess[str]:
        call = [sys.executable, "-m", "mosdeploy.runtime", str(encoder_bundle), "--threads", "1"]
        return subprocess.run([*call, *options], input=lines, capture_output=True, text=True)

    objects = [{"text": "the cat"}, {"text": "the cat", "text_pair": "the cat " * 9}]
    done = run("\n".join(map(json.dumps, objects)), "--jsonl", "--json", "--time")
    inputs = [json.loads(line)["input"] for line in done.stdout.splitlines()]
    assert inputs == ["the cat", "the cat\t" + "the cat " * 9]
    notes, timing = done.stderr.splitlines()
    assert notes.startswith("warning: 1 of 2 lines were too long and were cut; 1 of 2 lines hold")
    assert timing.startswith("tokenising") and "for 2 lines" in timing
    done = run("the cat\n" + "the cat " * 9, "--json", "--long", "window")
    assert [json.loads(line).get("num_windows") for line in done.stdout.splitlines()] == [None, 3]
    assert "were read in 3 windows" in done.stderr


def test_what_no_text_can_be(encoders: dict[str, Encoder]) -> None:
    encoder = encoders["classification"]
    with pytest.raises(InputError, match="is one text, not a list"):
        encoder.predict("it is")
    with pytest.raises(InputError, match="long is one of cut, window"):
        Encoder("nowhere", long="fold")
    with pytest.raises(InputError, match="half of a character"):
        encoder.predict(["the cat", "the \ud800"])
    with pytest.raises(ModelError, match="one token id or more"):
        encoder.predict_ids([[2, 3], []])
    with pytest.raises(ModelError, match="could not run"):
        encoder.predict_ids([[len(PIECES)]])
    with pytest.raises(ModelError, match="could not run"):
        encoder.predict_ids([[4] * 21])


# -- bad bundles -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tokenizers", "onnxruntime"])
def test_a_missing_package_is_named(
    encoder_bundle: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    for module in ("session", "wordpieces"):
        monkeypatch.delitem(sys.modules, f"mosdeploy.runtime.{module}", raising=False)
    with pytest.raises(ModelError, match="pip install onnxruntime tokenizers"):
        Encoder(encoder_bundle)


@pytest.mark.parametrize(
    ("operator", "attributes", "kind", "message"),
    [
        ("Identity", {}, onnx.TensorProto.INT64, r"int64 of .*, not float32 of \(1, 3\)"),
        ("Cast", {"to": 1}, onnx.TensorProto.FLOAT, r"float32 of shape \(1, 4\)"),
    ],
)
def test_a_model_that_answers_with_something_else(
    encoder_bundle: Path,
    operator: str,
    attributes: dict,
    kind: int,
    message: str,
) -> None:
    old = onnx.load(encoder_bundle / "model.onnx")
    node = onnx.helper.make_node(operator, ["input_ids"], ["logits"], **attributes)
    output = onnx.helper.make_tensor_value_info("logits", kind, None)
    graph = onnx.helper.make_graph([node], "g", list(old.graph.input), [output])
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    (encoder_bundle / "model.onnx").write_bytes(model.SerializeToString())
    edit_manifest(encoder_bundle)
    with pytest.raises(ModelError, match=message):
        Encoder(encoder_bundle).predict(["the cat"])


SINGLE = ("classification", "regression", "tagging", "embedding")


@pytest.mark.parametrize("kind", SINGLE)
def test_a_model_of_single_texts_reads_a_tab_as_a_space(tmp_path: Path, kind: str) -> None:
    encoder = Encoder(export_encoder(tmp_path, kind, has_pairs=False), threads=1)
    assert not encoder.settings.takes_pairs
    lines = ["the cat\tsee a house", "the cat see a house"]
    answers = encoder.answer(lines)
    assert [answer.pop("is_joined", False) for answer in answers] == [True, False]
    for answer in answers:
        for entity in answer.get("entities", ()):
            entity["text"] = entity["text"].replace("\t", " ")
    assert answers[0] == answers[1]


@pytest.mark.parametrize("kind", ["classification", "embedding"])
def test_a_separator_inside_a_single_text_starts_no_second_one(tmp_path: Path, kind: str) -> None:
    """As transformers' tokenizers have it: the types of a single text are all zero."""
    encoder = Encoder(export_encoder(tmp_path, kind, has_pairs=False), threads=1)
    ids = encoder.tokenizer.encode("the cat [SEP] a house")
    assert ids.count(SEP_ID) == 2 and ids[0] == CLS_ID
    (found,) = encoder.predict_ids([ids])
    assert found == pytest.approx(
        in_numpy(encoder_config(kind), [ids], has_pairs=False)[0], abs=5e-5
    )


TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def logits_of(tags: list[str], height: float = 2.0) -> list[float]:
    return (height * np.eye(len(TAGS))[[TAGS.index(tag) for tag in tags]]).ravel().tolist()


def pieces_of(spans: list[tuple[int, int]]) -> Pieces:
    return Pieces([1] * (len(spans) + 2), [(0, 0), *spans, (0, 0)], False)


def test_one_line_for_each_kind() -> None:
    assert decode_answer("classification", ("a", "b"), [0.1, 0.2]) == "b"
    assert decode_answer("regression", (), [-1234567.0]) == "-1234567"
    assert decode_answer("tagging", TAGS, logits_of(["O", "I-LOC"])) == "O I-LOC"
    assert json.loads(decode_answer("embedding", (), [0.12345678, -1.0])) == [0.123457, -1.0]


def test_numbers_have_the_digits_of_fp32() -> None:
    spelt = {2.0: "2", 2005.12345: "2005.1234", 0.1: "0.1", 1e-5: "0.00001", 16777216.0: "16777216"}
    for value, text in spelt.items():
        assert decode_answer("regression", (), [value]) == text
        assert Encoder.line_of({"value": value}) == text
    for value in np.random.default_rng(0).normal(3e5, 0.1, 100).astype(np.float32):
        assert np.float32(decode_answer("regression", (), [float(value)])) == value


def test_probabilities_by_hand() -> None:
    settings = settings_of("classification", ("a", "b"))
    found = answer_of(settings, "", [pieces_of([])], [[0.0, float(np.log(3.0))]])
    assert found == {"label": "b", "scores": {"a": 0.25, "b": 0.75}}


def test_entities_have_the_characters_of_their_words() -> None:
    line = "Ann Lee  sees Paris"
    # the pieces are of the line with single spaces
    pieces = pieces_of([(0, 3), (4, 7), (8, 11), (11, 12), (13, 18)])
    answer = logits_of(["O", "B-PER", "I-PER", "O", "B-LOC", "B-LOC", "O"])
    found = tags_of(TAGS, [answer], line, [pieces])
    assert found["tags"] == ["B-PER", "I-PER", "O", "B-LOC"], "the second piece of sees is not read"
    share = float(np.exp(2) / (np.exp(2) + 4))
    assert found["entities"] == [
        {"type": "PER", "start": 0, "end": 7, "score": pytest.approx(share), "text": "Ann Lee"},
        {"type": "LOC", "start": 14, "end": 19, "score": pytest.approx(share), "text": "Paris"},
    ]


@pytest.mark.parametrize(
    ("tags", "entities"),
    [
        (["I-PER", "I-PER"], [("PER", 0, 3)]),
        (["B-PER", "B-PER"], [("PER", 0, 1), ("PER", 2, 3)]),
        (["B-PER", "I-LOC"], [("PER", 0, 1), ("LOC", 2, 3)]),
        (["O", "I-LOC"], [("LOC", 2, 3)]),
        (["O", "O"], []),
    ],
)
def test_where_entities_begin(tags: list[str], entities: list[tuple[str, int, int]]) -> None:
    answer = logits_of(["O", *tags, "O"])
    found = tags_of(TAGS, [answer], "a b", [pieces_of([(0, 1), (2, 3)])])["entities"]
    assert [(x["type"], x["start"], x["end"]) for x in found] == entities


def test_an_entity_is_as_sure_as_its_least_sure_tag() -> None:
    answer = logits_of(["O", "B-PER"]) + logits_of(["I-PER"], height=1.0) + logits_of(["O"])
    (entity,) = tags_of(TAGS, [answer], "a b", [pieces_of([(0, 1), (2, 3)])])["entities"]
    assert entity["score"] == pytest.approx(np.e / (np.e + 4), abs=1e-6)


def test_a_piece_may_begin_with_the_space_before_its_word() -> None:
    words = [(0, 1), (2, 4), (5, 6)]
    assert best_places(words, [pieces_of([(0, 1), (1, 3), (3, 4)])]) == [(0, 1), (0, 2), None]


# -- windows ---------------------------------------------------------------------------------------


def settings_of(kind: str, labels: tuple[str, ...] = (), num_outputs: int = 2) -> EncoderSettings:
    return EncoderSettings(
        kind, labels, num_outputs, num_types=2, max_input_len=9, takes_pairs=False
    )


def test_windows_are_averaged_by_their_pieces() -> None:
    windows = [pieces_of([(0, 1), (2, 3), (4, 5)]), pieces_of([(4, 5)])]
    length = {"num_windows": 2}
    # (3 * 0 + 1 * 4) / 4 for the first, (3 * 2 - 2) / 4 for the second
    of_class = answer_of(settings_of("classification", ("a", "b")), "", windows, [[0, 2], [4, -2]])
    assert of_class == {"label": "a", "scores": {"a": 0.5, "b": 0.5}, **length}
    number = answer_of(settings_of("regression"), "", windows, [[2.0], [6.0]])
    assert number == {"value": 3.0, **length}
    # (0.75, 0.25) has length sqrt(10) / 4
    vector = answer_of(settings_of("embedding"), "", windows, [[1.0, 0.0], [0.0, 1.0]])
    assert vector == {"vector": [round(3 / 10**0.5, 6), round(1 / 10**0.5, 6)], **length}
    assert answer_of(settings_of("regression"), "", [], []) == {}
    assert answer_of(settings_of("regression"), "", windows[:1], [[2.0]]) == {"value": 2.0}
    cut = Pieces([1], [(0, 1)], True)
    assert answer_of(settings_of("regression"), "", [cut], [[2]]) == {"value": 2, "is_cut": True}


def test_a_word_is_read_where_most_stands_around_it() -> None:
    words = [(i, i + 1) for i in range(0, 12, 2)]
    windows = [pieces_of(words[:4]), pieces_of(words[2:])]
    # the third word has one piece behind it in the first window, none before it in the second
    assert best_places(words, windows) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (1, 4)]
    line = "a b c d e f"
    first = logits_of(["O", "O", "B-PER", "I-PER", "O", "O"])
    second = logits_of(["O", "O", "I-PER", "O", "B-LOC", "O"])
    found = tags_of(TAGS, [first, second], line, windows)
    assert found["tags"] == ["O", "B-PER", "I-PER", "I-PER", "O", "B-LOC"]
    spans = [(x["type"], x["text"], line[x["start"] : x["end"]]) for x in found["entities"]]
    assert spans == [("PER", "b c d", "b c d"), ("LOC", "f", "f")]


def test_a_word_whose_first_piece_is_in_another_window() -> None:
    # the word's pieces are (0, 2), (2, 4) and (4, 6); the second window begins with the second
    windows = [pieces_of([(0, 2), (2, 4)]), pieces_of([(2, 4), (4, 6)])]
    assert best_places([(0, 6)], windows) == [(0, 1)]
