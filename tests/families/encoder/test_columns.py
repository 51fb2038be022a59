"""What the columns of a table hold."""

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


def test_numbers_of_classes_are_sorted_as_numbers() -> None:
    stars = ["10", "9", "1", "10"]
    found = task_columns(rows(review=list("abcd"), rating=stars), None, None)
    assert found.labels == ("1", "9", "10")
    assert found.columns == {"text": "review", "label": "rating"}


@pytest.mark.parametrize("values", [["0.5", "1", "2"], [str(i) for i in range(30)]])
def test_numbers_on_a_scale_are_a_regression(values: list[str]) -> None:
    found = task_columns(rows(text=["t"] * len(values), score=values), None, None)
    assert (found.kind, found.labels) == ("regression", ())


def test_names_of_glue_are_known_and_a_pair_is_found() -> None:
    table = rows(sentence1=["a", "b"], sentence2=["c", "d"], label=["x", "y"])
    found = task_columns(table, None, None)
    assert found.columns == {"text": "sentence1", "text_pair": "sentence2", "label": "label"}


@pytest.mark.parametrize("names", [("question", "sentence"), ("text", "text_pair")])
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
    for tags, message in (
        ("PER", "'tags' holds 'PER'; a tag is O, B-TYPE or I-TYPE"),
        (None, "column 'tags' holds None, no list"),
    ):
        with pytest.raises(ConfigError, match=message):
            task_columns(rows(tokens=[["a"]], tags=[tags and [tags]]), None, None)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["a", "b"], "label": ["x", "x"]}, "'x' in all 2 rows; there is nothing to tell"),
        (
            {"text": ["a"] * (MAX_CLASSES + 1), "label": [f"v{i}" for i in range(MAX_CLASSES + 1)]},
            "201 different values, neither numbers nor 200 classes",
        ),
        ({"n": [1, 2], "label": ["x", "y"]}, "no column holds text; the columns are: 'n', 'label'"),
    ],
)
def test_what_cannot_be_told_is_refused(columns: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task_columns(rows(**columns), None, None)


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="no column 'lable'; the columns are: 'text', 'label'"):
        task_columns(rows(text=["a"], label=["x"]), None, "lable")


@pytest.mark.parametrize(
    ("strange", "first"), [("NA", 9), ("nan", 0), ("inf", 50), ("1e39", 3), ("1_000", 4)]
)
@pytest.mark.parametrize(("step", "count"), [(1, 30), (0.5, 10)])
def test_a_few_words_among_numbers_are_no_class(
    strange: str, first: int, step: float, count: int
) -> None:
    values = [str(step * (i % count)) for i in range(100)]
    values[first] = values[-1] = strange
    table = rows(text=["t"] * 100, score=values)
    message = (
        rf"line {first + 2}: column 'score' holds '{strange}' there, and no number in 2 of 100"
    )
    with pytest.raises(ConfigError, match=message):
        task_columns(table, None, None)


@pytest.mark.parametrize(("num_numbers", "num_words"), [(20, 1), (30, 5)])
def test_a_word_among_numbers_of_classes_is_one(num_numbers: int, num_words: int) -> None:
    values = [str(i % num_numbers) for i in range(100)]
    values[-num_words:] = ["other"] * num_words
    found = task_columns(rows(text=["t"] * 100, label=values), None, None)
    assert found.kind == "classification"
    assert found.counts["other"] == num_words


@pytest.mark.parametrize("missing", ["", None, math.nan])
def test_rows_without_a_label_are_no_class(missing: Any) -> None:
    found = rows(text=list("abcd"), label=["no", " ", "yes", missing])
    with pytest.raises(ConfigError, match=r"line 3: column 'label' is empty there .in 2 of 4"):
        task_columns(found, None, None)


@pytest.mark.parametrize("other", ["Pos", "pos  itive", " POS ITIVE"])
def test_labels_that_differ_in_case_or_spaces_alone_are_refused(other: str) -> None:
    word = "pos" if other == "Pos" else "pos itive"
    table = rows(text=list("abcd"), label=["neg", word, word, other])
    message = (
        rf"t.csv, line 5: .* holds '{other.strip()}' there \(in 1 of 4 rows\), and '{word}' in 2;"
    )
    with pytest.raises(ConfigError, match=message):
        task_columns(table, None, None)
