import json
from dataclasses import replace

import numpy as np
import pytest

from mosdeploy.runtime.encoder_answers import (
    answer_of,
    best_places,
    decode_answer,
    line_of_answer,
    scores_of,
    tags_of,
    vector_of,
)
from mosdeploy.runtime.encoder_settings import EncoderSettings
from mosdeploy.runtime.wordpieces import Pieces

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
    assert vector_of([0.12345678]) == {"vector": [0.123457]}


def test_numbers_have_the_digits_of_fp32() -> None:
    spelt = {2.0: "2", 2005.12345: "2005.1234", 0.1: "0.1", 1e-5: "0.00001", 16777216.0: "16777216"}
    for value, text in spelt.items():
        assert decode_answer("regression", (), [value]) == text
        assert line_of_answer({"value": value}) == text
    for value in np.random.default_rng(0).normal(3e5, 0.1, 100).astype(np.float32):
        assert np.float32(decode_answer("regression", (), [float(value)])) == value


def test_probabilities_by_hand() -> None:
    found = scores_of(("a", "b"), [0.0, float(np.log(3.0))])
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
        kind, labels, num_outputs, num_types=2, max_input_len=9, takes_pairs=True
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


def test_two_texts_where_one_was_learned_are_marked() -> None:
    settings = replace(settings_of("regression"), takes_pairs=False)
    windows = [pieces_of([(0, 1)])]
    assert answer_of(settings, "one", windows, [[2.0]]) == {"value": 2.0}
    assert answer_of(settings, "one\ttwo", windows, [[2.0]]) == {"value": 2.0, "is_joined": True}


def test_one_text_where_two_were_learned_is_marked() -> None:
    settings = replace(settings_of("regression"), learned_pairs=True)
    windows = [pieces_of([(0, 1)])]
    assert answer_of(settings, "one", windows, [[2.0]]) == {"value": 2.0, "is_single": True}
    assert answer_of(settings, "one\ttwo", windows, [[2.0]]) == {"value": 2.0}


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
