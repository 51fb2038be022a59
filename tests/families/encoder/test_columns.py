"""The task that the columns of a table tell."""

import math
from typing import Any

import pytest

from mosdeploy.errors import ConfigError
from mosdeploy.families.encoder.columns import MAX_CLASSES, task_columns
from mosdeploy.families.encoder.tables import Row


def rows(**columns: list[Any]) -> list[Row]:
    lines = zip(*columns.values(), strict=True)
    return [
        Row(f"t.csv, line {i + 2}", dict(zip(columns, cells, strict=True)))
        for i, cells in enumerate(lines)
    ]


def test_classes_are_counted_and_sorted() -> None:
    found = task_columns(rows(text=["a", "b", "c"], label=["no", "yes", "no"]), None, None)
    assert (found.kind, found.labels) == ("classification", ("no", "yes"))
    assert found.columns == {"text": "text", "label": "label"}
    assert found.counts == {"no": 2, "yes": 1}
    stars = task_columns(rows(review=list("abcd"), rating=["10", "9", "1", "10"]), None, None)
    assert stars.labels == ("1", "9", "10")  # as numbers
    assert stars.columns == {"text": "review", "label": "rating"}


@pytest.mark.parametrize("values", [["0.5", "1", "2"], [str(i) for i in range(30)]])
def test_numbers_on_a_scale_are_a_regression(values: list[str]) -> None:
    found = task_columns(rows(text=["t"] * len(values), score=values), None, None)
    assert (found.kind, found.labels) == ("regression", ())


@pytest.mark.parametrize(
    "names", [("question", "sentence"), ("sentence1", "sentence2"), ("text", "text_pair")]
)
def test_one_of_two_texts_is_not_taken_alone(names: tuple[str, str]) -> None:
    first, second = names
    table = rows(**{first: ["a", "b"], second: ["c", "d"], "label": ["x", "y"], "index": [1, 2]})
    found = task_columns(table, None, None)
    assert found.columns == {"text": first, "text_pair": second, "label": "label"}
    assert found.unread == ("index",)
    assert task_columns(table, first, "label").unread == (second, "index")


def test_of_unknown_names_the_longest_text_is_taken() -> None:
    table = rows(number=["1", "2"], body_of_it=["a long one", "another one"], what=["x", "y"])
    assert task_columns(table, None, "what").columns == {"text": "body_of_it", "label": "what"}
    with pytest.raises(ConfigError, match=r"no column for the label; .*body_of_it', 'what'"):
        task_columns(table, None, None)
    assert task_columns(table, "number", "what").columns["text"] == "number"


def test_tags_tell_their_types() -> None:
    table = rows(tokens=[["a", "b"], ["c"]], tags=[["B-PER", "I-PER"], ["B-LOC"]])
    found = task_columns(table, None, None)
    assert (found.kind, found.labels) == ("tagging", ("LOC", "PER"))
    assert found.counts == {"LOC": 1, "PER": 1}
    spaced = rows(tokens=[["a", "b"]], tags=[["B-JOB  TITLE", "I-JOB TITLE"]])
    assert task_columns(spaced, None, None).labels == ("JOB_TITLE",)
    for tags in (["PER"], None, ["O"]):
        with pytest.raises(ConfigError, match="'tags' holds"):
            task_columns(rows(tokens=[["a"]], tags=[tags]), None, None)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["x", "x"], "nothing to tell apart"),
        ([f"v{i}" for i in range(MAX_CLASSES + 1)], "neither numbers nor"),
        (["no", " ", "yes", ""], r"line 3: column 'label' is empty there .in 2 of 4"),
        (["no", "no", "yes", None], r"line 5: column 'label' is empty"),
        (["no", "no", "yes", math.nan], r"line 5: column 'label' is empty"),
        (["neg", "pos", "pos", "Pos"], r"line 5: .* holds 'Pos' there .in 1 of 4 rows., and 'pos'"),
        (["neg", "a  b", "a b", "a b"], r"line 3: .* holds 'a  b' there"),
        (["good", "very\ngood"], "printed as one line"),
        ([f"{i},5" for i in range(50)], "line 2: .* write numbers as in 1234.57"),
        ([f"{i}%" for i in range(50)], "line 2: .* write numbers as in 1234.57"),
    ],
)
def test_labels_that_are_a_mistake_are_refused(labels: list[Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task_columns(rows(text=["a"] * len(labels), label=labels), None, None)


def test_columns_that_are_not_there_are_named() -> None:
    with pytest.raises(ConfigError, match="no column 'lable'; the columns are: 'text', 'label'"):
        task_columns(rows(text=["a"], label=["x"]), None, "lable")
    with pytest.raises(ConfigError, match="no column holds text"):
        task_columns(rows(n=[1, 2], label=["x", "y"]), None, None)


@pytest.mark.parametrize("strange", ["NA", "nan", "inf", "1e39", "1_000"])
@pytest.mark.parametrize(("step", "count"), [(1, 30), (0.5, 10)])
def test_a_few_words_among_numbers_are_no_class(strange: str, step: float, count: int) -> None:
    values = [str(step * (i % count)) for i in range(100)]
    values[9] = values[-1] = strange
    message = rf"line 11: column 'score' holds '{strange}' there, and no number in 2 of 100"
    with pytest.raises(ConfigError, match=message):
        task_columns(rows(text=["t"] * 100, score=values), None, None)


@pytest.mark.parametrize(("num_numbers", "num_words"), [(20, 1), (30, 5)])
def test_a_word_among_numbers_of_classes_is_one(num_numbers: int, num_words: int) -> None:
    values = [str(i % num_numbers) for i in range(100)]
    values[-num_words:] = ["other"] * num_words
    found = task_columns(rows(text=["t"] * 100, label=values), None, None)
    assert (found.kind, found.counts["other"]) == ("classification", num_words)
