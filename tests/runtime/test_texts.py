"""Texts: what is one, lines of JSON, notes, sentences."""

import json

import numpy as np
import pytest

from mosdeploy.runtime import InputError
from mosdeploy.runtime.texts import check_texts, joined, line_of_json, sentences_of


def test_lists_of_texts_and_what_is_none() -> None:
    for given in ([], ["a"], ("a", "b"), np.array(["a", "b"])):
        check_texts(given)
    for wrong in (None, 3, (text for text in "ab"), {"a"}, {"a": 1}, np.array("a")):
        with pytest.raises(InputError, match="is no list of texts; write a list or a tuple"):
            check_texts(wrong)
    with pytest.raises(InputError, match=r"^None is no provider; write a list of providers"):
        check_texts([None], "provider")


def test_a_text_keeps_the_places_of_its_characters() -> None:
    text = "Ann\tsees\r\nParis"
    line = line_of_json(json.dumps({"text": text}), 1)
    assert line == "Ann sees  Paris"
    assert line.index("Paris") == text.index("Paris")


def test_a_tab_separates_the_two_of_a_pair() -> None:
    pair = {"text": "a\tb", "text_pair": "c", "id": 7}
    assert line_of_json(json.dumps(pair), 1) == "a b\tc"
    assert line_of_json('{"text": "a", "text_pair": null}', 1) == "a"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text", "line 3 is not JSON"),
        ('{"label": "x"}', 'line 3 is no object with a "text"'),
        ('{"text": "a", "text": "b"}', "line 3 is not JSON: .*'text' is there twice"),
        ('{"text": null}', "line 3: a text is no string"),
        ('{"text": "a", "text_pair": ["b"]}', "line 3: a text is no string"),
        ('{"text": "a", "text_pair": "b \\ud800"}', "line 3: .*ud800' is half of a character"),
    ],
)
def test_what_is_no_such_object_is_named(content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        line_of_json(content, 3)


@pytest.mark.parametrize(
    ("sentences", "gap"),
    [
        (["The cat sees.", "The dog runs!", "Why?", "So."], " "),
        (["Pi is 3.14 or so;", "e.g.", "this"], " "),
        (['He sees "a dog."', "The 'house.'", "(Yes.)", "No"], " "),
        (["Er sagt:", "„Nein.“", "„Doch!“", "Gut."], " "),
        (["« Oui ! »", "dit-il.", "Non."], " "),
        (["बिल्ली घर है।", "कुत्ता लाल है॥", "घर"], " "),
        (["گربه خانه است؟", "سگ سرخ است؛", "خانه."], " "),
        (["家。", "猫！", "犬？！", "山"], ""),
        (["「行こう。」", "家です（本当。）", "「山。」", "と言う。"], ""),
        (["家。", "猫。"], " "),
    ],
)
def test_sentences_end_behind_what_closes_them(sentences: list[str], gap: str) -> None:
    expected = [("" if i == 0 else gap, sentence) for i, sentence in enumerate(sentences)]
    assert list(sentences_of(gap.join(sentences))) == expected


@pytest.mark.parametrize("text", ["", "no end", "a.b.c", "one sentence.", "家。", "3.14", '"'])
def test_a_text_of_one_sentence_stays_whole(text: str) -> None:
    assert list(sentences_of(text)) == ([("", text)] if text else [])


@pytest.mark.parametrize(
    "text", [". " * 9, "。" * 9 + "!", "a. 」 b。 」 c", ".)" * 5 + " x。。 。"]
)
def test_nothing_is_lost(text: str) -> None:
    text = text.strip()
    assert "".join(f"{gap}{sentence}" for gap, sentence in sentences_of(text)) == text


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["a house.", "a cat."], "a house. a cat."),
        (["", "a house.", "", "a cat.", ""], "a house. a cat."),
        ([], ""),
        (["家。", "猫。", "犬"], "家。猫。犬"),
        (["何ですか?", "はい!", "「猫」"], "何ですか?はい!「猫」"),
        (["家です(本当)", "(猫)です"], "家です(本当)(猫)です"),
        (["家です。", "Linux です。"], "家です。Linux です。"),
        (["Linux", "家"], "Linux 家"),
        (["\u2047", "家"], "\u2047 家"),
    ],
)
def test_a_space_stands_between_texts_where_their_script_writes_one(
    texts: list[str], expected: str
) -> None:
    assert joined(texts) == expected
