"""What verbs have in common when they print for people."""

import pytest

from mosdeploy.cli.printing import card_line, table, terminal_width
from mosdeploy.printable import kept
from mosdeploy.records import PredictorCard


def test_a_card_is_one_line() -> None:
    card = PredictorCard.model_construct(
        num_samples=30, mape_percent=1.234, within_5_percent=97.6, kendall_tau=0.9876
    )
    assert card_line(card) == "30 subnets, error 1.23%, 98% within 5%, Kendall tau 0.988"


def test_a_limit_is_kept_up_to_its_last_digit() -> None:
    assert kept(100.0, 100.0) == ", limit 100 ms kept"
    assert kept(100.1, 100.0) == ", limit 100 ms NOT kept (100.1 ms)"
    assert kept(101.0, 100.0) == ", limit 100 ms NOT kept"
    assert kept(None, 100.0) == kept(100.0, None) == ""


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    text = table(("name", "ms"), [("a", 1), ("a long name", 22)])
    assert [line.split() for line in text.splitlines()[::2]] == [["name", "ms"], ["a", "1"]]
    header, _, first, last = text.splitlines()
    assert header.index("ms") == first.index("1") == last.index("22")


def test_a_cell_is_neither_cut_nor_read_as_markup() -> None:
    path = "x" * 500 + "[bold]y[/bold]"
    assert path in table(("what",), [(path,)])


def test_the_last_column_is_folded_at_the_width_of_the_terminal() -> None:
    words = " ".join(["another search is there now"] * 5)
    rows = [("bundle", "en-de-fp32[1]", words), ("report", "", "x" * 200)]
    lines = table(("what", "of", "details"), rows, width=60).splitlines()
    assert max(map(len, lines)) <= 60
    details = [line[lines[0].index("details") :] for line in lines[2:]]
    assert " ".join(details).startswith(words)
    assert "".join(details).count("x") == 200
    # what is narrower than the others is no reason to cut them
    assert "en-de-fp32[1]" in table(("what", "of", "details"), rows, width=10)


def test_only_a_terminal_has_a_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "66")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert terminal_width() == 66
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    assert terminal_width() is None
    monkeypatch.setattr("sys.stdout", None)  # closed, as by `>&-`
    assert terminal_width() is None
