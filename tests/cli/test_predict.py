"""`mosdeploy predict`: where its lines come from."""

import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import ENVIRONMENT, MOSDEPLOY, mosdeploy, run_folder

from mosdeploy.cli.printing import PROGRESS
from mosdeploy.cli.verbs import _input_lines
from mosdeploy.errors import ConfigError
from mosdeploy.pipeline.predict import PredictResult
from mosdeploy.run_folder.options import PredictOptions
from mosdeploy.runtime import Encoder
from mosdeploy.runtime.execution import Timing

PREDICT = "predict.predict"


def answered(*answers: dict[str, Any], lines: tuple[str, ...] = ("one", "two")) -> PredictResult:
    outputs = [Encoder.line_of(answer) for answer in answers]
    return PredictResult(Path("b"), lines, answers, outputs, Timing())


def test_outputs_are_lines_in_order(ask: Callable[..., Any]) -> None:
    done = answered({"label": "ONE", "scores": {"ONE": 1.0}}, {})
    asked = ask(PREDICT, done, "predict", "one", "two", "--threads", "2")
    assert asked.arguments == (Path(), ["one", "two"], PredictOptions(threads=2), PROGRESS)
    assert asked.stdout == "ONE\n\n"
    assert asked.stderr == ""
    as_json = ask(PREDICT, done, "predict", "one", "two", "--json").stdout
    assert json.loads(as_json) == {
        "bundle": "b",
        "predictions": [
            {"input": "one", "label": "ONE", "scores": {"ONE": 1.0}},
            {"input": "two"},
        ],
    }


def test_what_looks_like_an_option_is_text_behind_two_dashes(
    ask: Callable[..., Any], tmp_path: Path
) -> None:
    done = answered({"label": "ONE", "scores": {"ONE": 1.0}}, lines=("--debug",))
    asked = ask(PREDICT, done, "predict", "--", "--debug")
    assert asked.arguments[1] == ["--debug"]
    assert asked.stdout == "ONE\n"
    failed = mosdeploy("predict", "--", "--debug", cwd=run_folder(tmp_path))
    assert failed.returncode == 4
    assert "Traceback" not in failed.stderr


def test_time_and_cut_texts_are_told_on_stderr(ask: Callable[..., Any]) -> None:
    done = answered({"value": 1.5, "is_cut": True}, {"value": 2.0})
    done.timing.num_lines = 2
    done.timing.total_s = 0.004
    asked = ask(PREDICT, done, "predict", "one", "two", "--time", "--long", "window")
    assert asked.arguments[2] == PredictOptions(long="window")
    assert asked.stdout == "1.5\n2\n"
    assert asked.stderr.splitlines() == [
        "1 of 2 lines were too long and were cut",
        "tokenising 0.00 ms, running 0.00 ms, total 4.00 ms for 2 lines, 2.00 ms a line",
    ]


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_closed_streams_are_told_before_a_bundle_is_opened(tmp_path: Path, closed: str) -> None:
    words = "one" if closed == ">&-" else ""
    done = subprocess.run(
        ["sh", "-c", f"{shlex.join(MOSDEPLOY)} predict {words} {closed}"],
        cwd=run_folder(tmp_path),
        env=ENVIRONMENT,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 3
    assert (b"stdin" if closed == "<&-" else b"stdout") + b" is closed" in done.stderr


def test_vectors_are_written_to_a_file(
    ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mosdeploy.pipeline.predict.check_vectors", lambda *_: None)
    done = answered({"vector": [0.6, 0.8]}, {"vector": [0.0, 1.0]})
    asked = ask(PREDICT, done, "predict", "one", "two", "--output", "v.npy")
    assert asked.stdout == "v.npy: 2 x 2 numbers\n"
    found = np.load("v.npy")
    assert found.dtype == np.float32
    assert found == pytest.approx(np.array([[0.6, 0.8], [0.0, 1.0]]))
    with pytest.raises(ConfigError, match="line 2 has no vector"):
        ask(PREDICT, answered({"vector": [1.0]}, {}), "predict", "a", "", "--output", "w.npy")
    assert not Path("w.npy").exists()


@pytest.mark.parametrize("are_json", [True, False])
def test_a_byte_order_mark_is_passed_over_and_a_blank_line_answered(
    monkeypatch: pytest.MonkeyPatch, are_json: bool
) -> None:
    first = '{"text": "one"}' if are_json else "one"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"\ufeff{first}\n\n".encode())))
    assert _input_lines(None, are_json) == ["one", ""]


def test_lines_are_arguments_or_come_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "one\r\n\ntwo \u2028 in one line\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert _input_lines(["one", "two"]) == ["one", "two"]
    assert _input_lines(None) == ["one", "", "two \u2028 in one line"]
    with pytest.raises(ConfigError, match="not UTF-8"):
        _input_lines(["\udcff"])
    with pytest.raises(ConfigError, match=r"^line 2"):
        _input_lines(['{"text": "fine"}', "{"], are_json=True)


def test_a_terminal_is_told_what_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main, typed = os.openpty()
    with os.fdopen(main, "wb", buffering=0) as keys, os.fdopen(typed) as terminal:
        keys.write(b"one\n\x04")
        monkeypatch.setattr(sys, "stdin", terminal)
        assert _input_lines(None) == ["one"]
    assert "Ctrl-D" in capsys.readouterr().err
