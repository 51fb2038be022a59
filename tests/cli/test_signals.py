"""Signals: a command ends with their exit codes, wherever they come in."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import ENVIRONMENT

from mosdeploy.cli import main
from mosdeploy.cli.signals import as_interrupts
from mosdeploy.errors import ExportError

IMPORTS = """
import sys
import time

class Slow:
    def find_spec(self, name, *_):
        if name == "typer":
            print("importing", flush=True)
            time.sleep(60)

sys.meta_path.insert(0, Slow())
from mosdeploy.cli import main
main()
"""


def test_ctrl_c_ends_with_its_exit_code(tmp_path: Path) -> None:
    code = "from mosdeploy.cli import main; print('ready', flush=True); main()"
    waiting = subprocess.Popen(
        [sys.executable, "-c", code, "-q", "predict"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell starts what runs in the background with Ctrl-C ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "ready\n"
    for _ in range(100):  # one that comes during an import may be lost there
        time.sleep(0.5)  # by then it reads a line of stdin, most likely
        if waiting.poll() is not None:
            break
        waiting.send_signal(signal.SIGINT)
    _, told = waiting.communicate(timeout=60)
    assert waiting.returncode == 130
    # it keeps nothing, as other verbs do
    assert told == "interrupted\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_imports_run_is_told_alike(tmp_path: Path, number: signal.Signals) -> None:
    starting = subprocess.Popen(
        [sys.executable, "-c", IMPORTS, "status"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell starts what runs in the background with Ctrl-C ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert starting.stdout is not None
    assert starting.stdout.readline() == "importing\n"
    starting.send_signal(number)
    _, told = starting.communicate(timeout=60)
    assert starting.returncode == 128 + number
    reason = "interrupted" if number == signal.SIGINT else "ended by SIGTERM"
    assert told == f"{reason}\n"  # it keeps nothing


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[signal.Signals], int]]:
    """Sends this process a signal in the middle of a verb; gives the exit code."""
    # under `nohup` it is ignored
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)

    def end_by(number: signal.Signals) -> int:
        def work(*_: object) -> None:
            os.kill(os.getpid(), number)
            time.sleep(60)  # which the signal ends

        monkeypatch.setattr("mosdeploy.pipeline.demo.demo", work)
        monkeypatch.setattr(sys, "argv", ["mosdeploy", "demo"])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code)  # type: ignore[arg-type]

    yield end_by
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("number", "code", "told"),
    [(signal.SIGTERM, 143, "ended by SIGTERM"), (signal.SIGHUP, 129, "ended by SIGHUP")],
)
def test_a_signal_ends_a_verb_as_ctrl_c_does(
    signalled: Callable[[signal.Signals], int],
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    code: int,
    told: str,
) -> None:
    assert signalled(number) == code
    assert f"{told}; what was finished is kept, the same command resumes" in capsys.readouterr().err
    assert signal.getsignal(number) == signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("pause_s", [0.0, 0.1])
def test_a_signal_that_comes_in_a_destructor_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    pause_s: float,
) -> None:
    start = threading.Thread.start

    def start_slowly(thread: threading.Thread) -> None:  # as on a busy machine
        start(thread)
        time.sleep(pause_s)

    class Ended:
        def __del__(self) -> None:  # where Python tells of an exception and goes on
            os.kill(os.getpid(), number)
            time.sleep(0.001)

    def work(*_: object) -> None:
        Ended()
        time.sleep(60)

    monkeypatch.setattr(threading.Thread, "start", start_slowly)
    before = {x: signal.getsignal(x) for x in (signal.SIGHUP, signal.SIGINT)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr("mosdeploy.pipeline.demo.demo", work)
    monkeypatch.setattr(sys, "argv", ["mosdeploy", "demo"])
    hook = sys.unraisablehook
    try:
        with pytest.raises(SystemExit) as end:
            main()
    finally:
        for x, handler in before.items():
            signal.signal(x, handler)
    assert end.value.code == 128 + number
    told = capsys.readouterr().err
    assert "what was finished is kept, the same command resumes" in told
    assert "Exception ignored" not in told
    assert sys.unraisablehook is hook


def test_a_signal_counts_where_no_thread_is_left_to_send_one_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Ended:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.001)

    def work(*_: object) -> None:
        Ended()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", full)
    monkeypatch.setattr("mosdeploy.pipeline.init.init", work)
    monkeypatch.setattr(sys, "argv", ["mosdeploy", "init", "--recipe", "tiny"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 143


@pytest.mark.parametrize(
    "error",
    [
        ValueError("Error serializing to JSON: KeyboardInterrupt"),
        ExportError("onnxruntime cannot be imported (initialization failed)"),
    ],
)
def test_a_signal_that_a_library_takes_for_its_own_error_ends_the_verb(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def work(*_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        except KeyboardInterrupt as interrupt:
            raise error from interrupt

    monkeypatch.setattr("mosdeploy.pipeline.demo.demo", work)
    monkeypatch.setattr(sys, "argv", ["mosdeploy", "demo"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 143
    assert "ended by SIGTERM; what was finished is kept" in capsys.readouterr().err


def test_a_terminal_that_is_gone_changes_no_exit_code(
    signalled: Callable[[signal.Signals], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen, terminal = os.openpty()
    os.close(screen)
    with os.fdopen(terminal, "w") as gone:
        monkeypatch.setattr(sys, "stderr", gone)
        assert signalled(signal.SIGHUP) == 129


def test_signals_that_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with as_interrupts():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
            monkeypatch.setenv("WORLD_SIZE", "2")
            with pytest.raises(KeyboardInterrupt), as_interrupts():
                os.kill(os.getpid(), signal.SIGTERM)
            # a second one ends at once
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        with as_interrupts():
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
