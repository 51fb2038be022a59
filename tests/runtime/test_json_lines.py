"""Objects of JSON Lines become lines, in which characters keep their places."""

import json

import pytest

from mosdeploy.runtime.json_lines import InputError, line_of_json


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
        ("[" * 100_000, "line 3 is not JSON"),
        ('{"label": "x"}', 'line 3 is no object with a "text"'),
        ('["text"]', 'line 3 is no object with a "text"'),
        ('{"text": "a", "text": "b"}', "line 3 is not JSON: .*'text' is there twice"),
        ('{"text": null}', "line 3: a text is no string"),
        ('{"text": "a", "text_pair": ["b"]}', "line 3: a text is no string"),
        ('{"text": "a", "text_pair": "b \\ud800"}', "line 3: .*ud800' is half of a character"),
    ],
)
def test_what_is_no_such_object_is_named(content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        line_of_json(content, 3)
