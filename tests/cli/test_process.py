"""The process of a command: signals end it, and its streams may be closed, gone or full."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import ENVIRONMENT, MOSDEPLOY

from mosdeploy.cli import main
from mosdeploy.cli.process import as_interrupts
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


def exit_code(monkeypatch: pytest.MonkeyPatch, work: Callable[..., None]) -> object:
    """What a verb ends with that does this work, in this process."""
    monkeypatch.setattr("mosdeploy.pipeline.demo.demo", work)
    monkeypatch.setattr(sys, "argv", ["mosdeploy", "demo"])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_comes_in_a_destructor_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    class Ended:
        def __del__(self) -> None:  # where Python tells of an exception and goes on
            os.kill(os.getpid(), number)
            time.sleep(0.001)

    def work(*_: object) -> None:
        Ended()
        time.sleep(60)

    before = {x: signal.getsignal(x) for x in (signal.SIGHUP, signal.SIGINT)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    hook = sys.unraisablehook
    try:
        assert exit_code(monkeypatch, work) == 128 + number
    finally:
        for x, handler in before.items():
            signal.signal(x, handler)
    told = capsys.readouterr().err
    assert "what was finished is kept, the same command resumes" in told
    assert "Exception ignored" not in told
    assert sys.unraisablehook is hook


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

    assert exit_code(monkeypatch, work) == 143
    assert "ended by SIGTERM; what was finished is kept" in capsys.readouterr().err


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


BARS = """
import sys
from mosdeploy.cli.process import prepare_streams
prepare_streams()
from mosdeploy.cli.printing import PROGRESS
for i in range(3):
    PROGRESS.update("train", i, 3)
PROGRESS.say("done")
print("answer")
"""


def test_json_is_ascii_and_a_full_disk_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "übung"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "mosdeploy", "init", "--json", "--dir", folder],
        env={**ENVIRONMENT, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout.decode("ascii"))["path"] == str(folder / "mosdeploy.toml")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mosdeploy", "devices", "list"],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == (
        "error: the answer cannot be written to stdout: No space left on device; what was made is "
        "kept\n"
    )


def test_a_closed_stderr_is_no_error(tmp_path: Path) -> None:
    code = "import os; from mosdeploy.cli import main; main()"
    words = f"exec {sys.executable} -c '{code}' devices list --json 2>&-"
    done = subprocess.run(
        words, shell=True, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["devices"]


@pytest.mark.parametrize(
    ("words", "code"),
    [(("devices", "list", "--json"), 0), (("status",), 3), (("status", "--bad"), 2)],
)
def test_where_stderr_fails_the_answer_and_the_code_stay(
    tmp_path: Path, words: tuple[str, ...], code: int
) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*MOSDEPLOY, *words],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=full,
            check=False,
        )
    assert done.returncode == code
    assert bool(done.stdout) == (code == 0)


def test_where_stdout_is_closed_the_answer_is_missed(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{shlex.join(MOSDEPLOY)} devices list >&-",
        shell=True,
        cwd=tmp_path,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr == "error: stdout is closed, where answers go; send them to /dev/null\n"


@pytest.mark.parametrize("shown", ["stdout", "stderr"])
def test_a_file_gets_utf8_and_a_terminal_what_it_shows(tmp_path: Path, shown: str) -> None:
    plain = {x: y for x, y in ENVIRONMENT.items() if x != "PYTHONIOENCODING"}
    screen, terminal = os.openpty()
    with (tmp_path / "file").open("wb") as file:
        streams = {"stdout": file, "stderr": file, shown: terminal}
        done = subprocess.run(
            [*MOSDEPLOY, "init", "--dir", tmp_path / "ü"],
            env={**plain, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            **streams,
        )
    os.close(terminal)
    assert done.returncode == 0
    seen = os.read(screen, 65536)
    os.close(screen)
    kept = (tmp_path / "file").read_bytes()
    assert seen.isascii() and rb"\xfc" in seen
    assert "ü".encode() in kept


def test_a_terminal_that_is_gone_costs_no_answer(tmp_path: Path) -> None:
    screen, terminal = os.openpty()
    os.close(screen)
    done = subprocess.run(
        [sys.executable, "-c", BARS], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=terminal
    )
    os.close(terminal)
    assert (done.returncode, done.stdout) == (0, b"answer\n")


def test_whoever_reads_may_have_seen_enough() -> None:
    """As `| head -1` with `set -o pipefail`."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*MOSDEPLOY, "devices", "list"], env=ENVIRONMENT, stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
