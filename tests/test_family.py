"""The record of callables that a family fills, and functions that are imported when called."""

import pickle
import sys
from pathlib import Path

import pytest

from mosdeploy.family import ScoredExamples, deferred

MODULE = """
from pathlib import Path

Path(__file__).with_name("imported").touch()


def double(number, *, plus=0):
    return 2 * number + plus


class Table:
    @classmethod
    def open(cls, path):
        return cls.__name__, path
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `lazy_family` whose module `works` leaves a file when it is imported."""
    folder = tmp_path / "lazy_family"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "works.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("lazy_family", "lazy_family.works"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return folder


def test_deferred_imports_at_the_first_call(package: Path) -> None:
    double = deferred("lazy_family", "works:double")
    assert not (package / "imported").exists()
    assert double(4, plus=1) == 9
    assert (package / "imported").exists()


def test_deferred_calls_a_method_of_a_class(package: Path) -> None:
    assert deferred("lazy_family", "works:Table.open")("a path") == ("Table", "a path")


def test_deferred_can_be_pickled_before_it_is_called(package: Path) -> None:
    again = pickle.loads(pickle.dumps(deferred("lazy_family", "works:double")))
    assert not (package / "imported").exists()
    assert again(1) == 2


@pytest.mark.parametrize(
    ("target", "error"), [("works:triple", AttributeError), ("gone:double", ImportError)]
)
def test_deferred_fails_when_called(package: Path, target: str, error: type[Exception]) -> None:
    missing = deferred("lazy_family", target)
    with pytest.raises(error):
        missing(1)


def test_scored_examples_judge_the_text_of_what_is_predicted() -> None:
    examples = ScoredExamples(
        inputs=["ab", "c"],
        input_ids=[(1, 2), (3,)],
        predict=lambda subnet, rows: [[subnet + i for i in row] for row in rows],
        decode=lambda ids: " ".join(map(str, ids)),
        metrics=lambda outputs: {"length": float(len("".join(outputs)))},
        metric="length",
        setup="greedy",
    )
    assert len(examples) == 2
    assert examples.evaluate(10) == {"length": 7.0}  # "11 12" and "13"
