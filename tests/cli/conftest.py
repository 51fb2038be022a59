"""A pipeline that just answers, for what the command line makes of options and results."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_line import run_folder
from replaced import replace_verb
from typer.testing import CliRunner

from mosdeploy.cli.app import app


@dataclass(frozen=True)
class Answered:
    """What a verb printed, and what it called the pipeline with."""

    stdout: str
    stderr: str
    exit_code: int
    arguments: tuple[Any, ...]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Answered]:
    """Run a command line in this process, in a run folder, on a pipeline that just answers.

    In: the pipeline's function, `module.name`; what it gives; the words. A function that is not
    called leaves no arguments.
    """
    run_folder(tmp_path)
    monkeypatch.chdir(tmp_path)

    def run(function: str, result: Any, *words: str) -> Answered:
        arguments: tuple[Any, ...] = ()

        def give(*given: Any, **_: Any) -> Any:
            nonlocal arguments
            arguments = given
            return result

        replace_verb(monkeypatch, function, give)
        done = CliRunner().invoke(app, list(words), catch_exceptions=False)
        return Answered(done.stdout, done.stderr, done.exit_code, arguments)

    return run
