"""`mosdeploy predict`: where its lines come from."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import ENVIRONMENT, MOSDEPLOY, run_folder

from mosdeploy.cli.predict import _lines
from mosdeploy.errors import ConfigError
from mosdeploy.pipeline.summaries import Prediction, Predictions


@pytest.mark.parametrize("verb", ["predict", "translate"])
def test_text_that_is_not_utf8_is_refused(tmp_path: Path, verb: str) -> None:
    done = subprocess.run(
        [*MOSDEPLOY, verb],
        cwd=run_folder(tmp_path),
        env=ENVIRONMENT,
        input=b"\xff\xfe\n",
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 3
    assert b"not UTF-8" in done.stderr


def test_outputs_are_lines_in_order(ask: Callable[..., Any]) -> None:
    pairs = tuple(Prediction(input=x, output=x.upper()) for x in ("one", "two"))
    done = Predictions(bundle="b", predictions=pairs)
    answered = ask("predict.predict", done, "predict", "one", "two", "--threads", "2")
    assert answered.arguments == (Path(), ["one", "two"], None, 2)
    assert answered.stdout == "ONE\nTWO\n"
    as_json = ask("predict.predict", done, "predict", "one", "two", "--json").stdout
    assert Predictions.model_validate_json(as_json) == done


def test_no_lines_are_no_output_but_a_record(ask: Callable[..., Any]) -> None:
    done = Predictions(bundle="b", predictions=())
    assert ask("predict.predict", done, "predict").stdout == ""
    assert "predictions" in ask("predict.predict", done, "predict", "--json").stdout


def test_arguments_are_lines_and_stdin_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe\n")))
    assert _lines(["one", "two"]) == ["one", "two"]


def test_without_arguments_lines_come_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "one\r\n\ntwo \u2028 in one line\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert _lines(None) == ["one", "", "two \u2028 in one line"]


def test_an_argument_that_was_not_utf8_is_refused() -> None:
    with pytest.raises(ConfigError, match="not UTF-8"):
        _lines(["\udcff"])
