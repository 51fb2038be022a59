"""Targets: what counts as one label, and which output of another head stands for which."""

import numpy as np
import pytest
from encoder_task import encoder_config

from mosdeploy.errors import ConfigError
from mosdeploy.families.encoder.checkpoint_head import output_order
from mosdeploy.families.encoder.examples import Example, Found, Target
from mosdeploy.families.encoder.tables import Row
from mosdeploy.families.encoder.tasks import check_taught, target_numbers, teach_all
from mosdeploy.families.encoder.teacher import warn_of_chance, warn_of_untaught


def placed(*targets: Target) -> list[Found]:
    return [Found("a.csv, line 2", Example(f"text {i}"), x) for i, x in enumerate(targets)]


def test_classes_that_begin_like_tags_are_told_apart() -> None:
    task = encoder_config(labels=["B-cell", "I-cell"]).task
    check_taught(placed("B-cell", "I-cell"), placed("I-cell"), task)
    with pytest.raises(ConfigError, match="all 2 examples have the label 'B-cell'"):
        check_taught(placed("B-cell", "B-cell"), [], task)
    train = placed("B-cell")
    split_off = placed("I-cell")
    teach_all(train, [split_off])
    assert (len(train), split_off) == (2, [])


def test_begin_and_inside_are_one_type_of_entity() -> None:
    task = encoder_config(kind="tagging", labels=["UI", "I-KEY"]).task
    train = placed(("O", "B-UI"), ("B-I-KEY",))
    check_taught(train, placed(("I-UI", "I-I-KEY")), task)
    with pytest.raises(ConfigError, match="no training example has the label 'I-KEY'"):
        check_taught(train[:1], placed(("I-I-KEY",)), task)


@pytest.mark.parametrize(
    ("names", "order"),
    [
        ([], [0, 1, 2]),
        (["b c", "A", "D"], [1, 0, 2]),
        (["a", "b c"], None),
        (["a", "d", "e"], None),
        (["a", "A", "b_c", "d"], None),
    ],
)
def test_outputs_are_found_by_name(names: list[str], order: list[int] | None) -> None:
    assert output_order(names, encoder_config(labels=["a", "b_c", "d"]).task) == order


def test_names_that_fold_to_one_have_no_order() -> None:
    assert output_order(["YES", "yes"], encoder_config(labels=["Yes", "yes"]).task) is None


@pytest.mark.parametrize(
    ("labels", "cells", "stranger"),
    [(["1", "2", "3"], "1210", "0"), (["-1", "1"], "01", "0"), (["1", "2"], "10", "0")],
)
def test_one_odd_row_makes_no_positions_of_labels_that_are_digits(
    labels: list[str], cells: str, stranger: str
) -> None:
    targets = [Found(f"line {i}", Example(""), cell) for i, cell in enumerate(cells, start=2)]
    where = f"line {cells.index(stranger) + 2}: column 'label' holds '{stranger}'; .* it may hold"
    with pytest.raises(ConfigError, match=where):
        target_numbers(targets, encoder_config(labels=labels).task)


def test_cells_are_names_or_positions() -> None:
    task = encoder_config(labels=["bad", "good"]).task
    assert target_numbers(placed("0", "1"), task) == {"0": 0, "1": 1}
    assert target_numbers(placed("good"), task) == {"bad": 0, "good": 1}


@pytest.mark.parametrize("cell", [True, False, "\u0663", "\uff11.5"])
def test_what_only_python_takes_for_a_number_is_refused(cell: object) -> None:
    with pytest.raises(ConfigError, match=rf"column 'y' holds '?{cell}'?; .* in the digits 0 to 9"):
        Row("a.jsonl, line 1", {"y": cell}).number("y")
    assert Row("a.csv, line 2", {"y": " 2.5\u00a0"}).number("y") == 2.5


def test_a_teacher_that_knows_no_more_than_the_shares_of_the_classes_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    halves = np.array([0, 1, 1, 0])
    warn_of_chance(0.68, halves)
    warn_of_chance(0.75, halves)  # sure of what is wrong
    warn_of_chance(0.6, np.zeros(4, dtype=np.int64))  # one class: there is nothing to know
    assert not caplog.records
    warn_of_chance(0.69, halves)
    warn_of_chance(0.57, np.array([0, 1, 1, 1]))
    told = [record.getMessage() for record in caplog.records]
    assert told[0].startswith("the teacher has a validation loss of 0.690, and 0.693 is that of")
    assert "of 0.570, and 0.562 is that of" in told[1]


def test_labels_that_no_example_has_are_told(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_untaught([0, 2], encoder_config(labels=["a", "b", "c"]).task)
    warn_of_untaught([0, 4], encoder_config(kind="tagging", labels=["UI", "KEY"]).task)
    told = [record.getMessage() for record in caplog.records]
    assert [line.partition(" of task.labels")[0][-3:] for line in told] == ["'b'", "UI'"]
    warn_of_untaught([0, 1], encoder_config(labels=["a", "b"]).task)
    assert len(caplog.records) == 2
