"""What verbs have in common when they print for people."""

import re
import sys

import pytest

from mosdeploy.cli.printing import (
    BLOCKS,
    TerminalProgress,
    card_line,
    sparkline,
    table,
    terminal_width,
)
from mosdeploy.records import PredictorCard


def test_a_card_is_one_line() -> None:
    card = PredictorCard.model_construct(
        num_samples=30, mape_percent=1.234, within_5_percent=97.6, kendall_tau=0.9876
    )
    assert card_line(card) == "30 subnets, error 1.23%, 98% within 5%, Kendall tau 0.988"


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    text = table(("name", "ms"), [("a", 1), ("a long name", 22)])
    assert [line.split() for line in text.splitlines()[::2]] == [["name", "ms"], ["a", "1"]]
    header, _, first, last = text.splitlines()
    assert header.index("ms") == first.index("1") == last.index("22")


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


def test_a_pipe_gets_the_first_and_the_last_step(capsys: pytest.CaptureFixture[str]) -> None:
    progress = TerminalProgress()
    for done in range(4):
        progress.update("train", done, 3, "loss 1.0" if done == 3 else "")
    assert capsys.readouterr() == ("", "train: 0/3\ntrain: 3/3 loss 1.0\n")


def test_a_message_is_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    TerminalProgress().say("already trained")
    assert capsys.readouterr() == ("", "already trained\n")


def test_quiet_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = TerminalProgress()
    progress.is_quiet = True
    progress.update("train", 1, 1)
    progress.say("already trained")
    progress.close()
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_for_each_stage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = TerminalProgress()
    progress.update("upload", 1, 2)
    progress.update("measure", 1, 4, "3.5 ms")
    progress.say("the link is back")  # the bars stay as they are
    told = capsys.readouterr().err
    plain = re.sub(r"\x1b\[[0-9;]*m", "", told)  # without colours
    # how many of how many, and how long still, which one step alone does not tell
    assert re.search(r"upload .* 1/2 -:--:--", plain)
    assert re.search(r"measure .* 1/4 -:--:-- 3\.5 ms", plain)
    assert told.endswith("the link is back\n")


def test_a_curve_stands_beside_its_bar_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    progress = TerminalProgress()
    progress.update("upload", 1, 2, "a file")
    progress.curve("train", [4.0, 3.0, 2.0])
    progress.update("train", 1, 4, "loss 3.5, 900 targets/s")
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert any("loss 3.5, 900 targets/s █▄▁" in line for line in lines)
    assert not any(set(BLOCKS) & set(line) for line in lines if "a file" in line)


def test_a_sparkline_has_the_last_values_and_no_more() -> None:
    assert sparkline([]) == ""
    assert sparkline([2.0]) == sparkline([2.0, 2.0])[0] == BLOCKS[0]
    assert sparkline([9.0, 1.0, 2.0, 3.0], width=3) == "▁▄█"
    assert len(sparkline([float(i) for i in range(100)])) == 16


@pytest.mark.parametrize("is_terminal", [True, False])
def test_what_a_device_says_neither_steers_nor_ends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_terminal: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    progress = TerminalProgress()
    progress.update("measure on [/x]", 1, 1, "failed: [/red] \x1b]0;owned\x07")
    progress.say("[/x]: \x1b[2Jgone")
    told = capsys.readouterr().err
    assert "measure on [/x]" in told
    assert "failed: [/red] ?]0;owned?" in told
    assert told.endswith("[/x]: ?[2Jgone\n")
