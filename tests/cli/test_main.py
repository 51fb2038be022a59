"""The command line as typed: what it loads, what it tells where, how it ends."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ENVIRONMENT, MOSDEPLOY, mosdeploy, run_folder, run_python

from mosdeploy.cli import main
from mosdeploy.recipes import list_recipes

HEAVY = """
import sys
from mosdeploy.cli import main
try:
    main()
except SystemExit:
    pass
heavy = {"numpy", "onnx", "onnxruntime", "paramiko", "pydantic", "scipy", "sentencepiece"}
heavy |= {"sklearn", "torch"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""

WARNS = """
import logging
import sys
import mosdeploy.pipeline.profile
from mosdeploy.cli import main

def warn(context, options):
    logging.getLogger("mosdeploy.latency.dataset").warning("a %s of it", "warning")
    logging.getLogger("mosdeploy.latency.dataset").debug("a detail")
    context.progress.say("a message")
    raise KeyboardInterrupt

mosdeploy.pipeline.profile.fit = warn
main()
"""


def test_help_lists_the_verbs_and_loads_nothing_heavy(tmp_path: Path) -> None:
    done = run_python("-c", HEAVY, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for verb in ("init", "train", "search", "deploy", "predict", "demo"):
        assert verb in done.stdout
    assert "translate" not in done.stdout


def test_version_is_that_of_the_package(tmp_path: Path) -> None:
    from mosdeploy import __version__

    assert mosdeploy("--version", cwd=tmp_path).stdout == f"mosdeploy {__version__}\n"


def test_module_runs_as_the_command_does(tmp_path: Path) -> None:
    done = run_python("-m", "mosdeploy", "train", cwd=tmp_path)
    assert done.returncode == 3
    assert "mosdeploy init" in done.stderr


TRAIN_FIRST = "run `mosdeploy train` first"
RECIPES = ", ".join(list_recipes())


@pytest.mark.parametrize(
    ("words", "exit_code", "part"),
    [
        (("init", "--recipe", "huge"), 3, f"unknown recipe 'huge'; known: {RECIPES}"),
        (("profile", "--device", "rpy"), 3, "unknown device 'rpy'; did you mean 'rpi'?"),
        (("devices", "list", "toaster"), 3, "known devices: jetson-orin, local, rpi, "),
        (("search", "--max-latency", "150"), 3, "'150' is not a duration"),
        (("search", "--max-parameters", "many"), 3, "'many' is not a count"),
        (("search",), 3, "a search needs a limit"),
        (("search", "--max-latency", "150ms"), 4, TRAIN_FIRST),
        (("export",), 4, TRAIN_FIRST),
        (("export", "--runtime", "tf"), 2, "'--runtime': 'tf' is not one of 'onnxruntime', "),
        (("export", "--precision", "fp8"), 3, "unknown precision 'fp8'"),
        (("evaluate", "--beam", "0"), 2, "--beam"),
        (("finetune", "--steps", "1.5"), 2, "'--steps': Input should be a valid integer"),
        (("fit",), 4, "run `mosdeploy profile` first"),
        (("deploy",), 4, "run `mosdeploy export` first"),
        (("deploy", "--rollback"), 4, "nothing was deployed from this folder; run `mosdeploy d"),
        (("deploy", "--rollback", "--bundle", "x"), 3, "--rollback goes back to what the device"),
        (("predict", "hello"), 4, "run `mosdeploy export` first"),
        (("train",), 3, "train.en"),
        (("profile", "--budget", "2"), 2, "--budget"),
        (("profile", "--until-error", "2"), 3, "'2' is not a percentage; write a number between"),
        (("fit", "--device", "xeon", "--from", "rpi"), 4, "run `mosdeploy profile` first"),
    ],
)
def test_a_wrong_command_says_what_to_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    exit_code: int,
    part: str,
) -> None:
    monkeypatch.chdir(run_folder(tmp_path))
    monkeypatch.setattr(sys, "argv", ["mosdeploy", *words])
    # in this process, which takes a twentieth of the time of another one: what `main` adds to it
    # goes with the test
    logger = logging.getLogger("mosdeploy")
    monkeypatch.setattr(logger, "handlers", logger.handlers.copy())
    monkeypatch.setenv("GOMP_SPINCOUNT", "30000")
    with pytest.raises(SystemExit) as end:
        main()
    printed = capsys.readouterr()
    assert end.value.code == exit_code, printed.err
    assert part in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_in_a_folder_that_is_gone_there_is_no_traceback(tmp_path: Path) -> None:
    words = [
        "sh",
        "-c",
        'mkdir gone; cd gone; rmdir ../gone; exec "$0" -c "$1" train',
        *MOSDEPLOY[::2],
    ]
    done = subprocess.run(words, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ") and "No such file or directory" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = mosdeploy("--debug", "train", cwd=tmp_path)
    assert "Traceback" in done.stderr
    assert "ConfigError" in done.stderr


@pytest.mark.parametrize(
    ("option", "shown", "hidden"),
    [
        (None, ("warning: a warning of it", "a message"), ("a detail",)),
        ("--verbose", ("warning: a warning of it", "debug: a detail", "a message"), ()),
        ("--quiet", (), ("a warning of it", "a detail", "a message")),
    ],
)
def test_messages_are_told_once_and_on_stderr(
    tmp_path: Path, option: str | None, shown: tuple[str, ...], hidden: tuple[str, ...]
) -> None:
    before = [option] if option else []
    done = run_python("-c", WARNS, *before, "fit", cwd=run_folder(tmp_path))
    assert done.stdout == ""
    assert [done.stderr.count(f"{message}\n") for message in shown] == [1] * len(shown)
    assert not [message for message in hidden if message in done.stderr]
    assert done.returncode == 130
    assert done.stderr.endswith("interrupted\n")


@pytest.mark.parametrize(
    ("words", "resumes"), [(("train",), True), (("train", "--dry-run"), False), (("init",), False)]
)
def test_only_what_goes_on_is_said_to_go_on(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    resumes: bool,
) -> None:
    def work(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mosdeploy.cli.app.run", work)
    monkeypatch.setattr(sys, "argv", ["mosdeploy", "-q", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
    assert ("the same command resumes" in capsys.readouterr().err) is resumes


def test_quiet_leaves_errors_and_results(tmp_path: Path) -> None:
    failed = mosdeploy("-q", "train", cwd=tmp_path)
    assert "error: no mosdeploy.toml" in failed.stderr
    listed = mosdeploy("-q", "devices", "list", "--json", cwd=tmp_path)
    assert json.loads(listed.stdout)["devices"]


def test_an_error_steers_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mosdeploy", "devices", "list", "\x1b[2Jrpi"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 3
    assert "unknown device '?[2Jrpi'" in capsys.readouterr().err
