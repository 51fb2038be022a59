"""The command line as typed: what it loads, what it tells where, how it ends."""

import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import ENVIRONMENT, MOSDEPLOY, mosdeploy, run_folder, run_python

from mosdeploy.cli import main
from mosdeploy.cli.app import app
from mosdeploy.cli.signals import as_interrupts
from mosdeploy.errors import ExportError
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
import mosdeploy.pipeline.fit
from mosdeploy.cli import main

def warn(context, device, source):
    logging.getLogger("mosdeploy.latency.dataset").warning("a %s of it", "warning")
    logging.getLogger("mosdeploy.latency.dataset").debug("a detail")
    context.progress.say("a message")
    raise KeyboardInterrupt

mosdeploy.pipeline.fit.fit = warn
main()
"""

BARS = """
import sys
from mosdeploy.cli.streams import prepare_streams
prepare_streams()
from mosdeploy.cli.progress import PROGRESS
for i in range(3):
    PROGRESS.update("train", i, 3)
PROGRESS.say("done")
print("answer")
"""

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


def test_help_lists_the_verbs_and_loads_nothing_heavy(tmp_path: Path) -> None:
    done = run_python("-c", HEAVY, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for verb in [
        "init",
        "train",
        "profile",
        "fit",
        "search",
        "evaluate",
        "export",
        "deploy",
        "predict",
        "report",
        "demo",
    ]:
        assert verb in done.stdout
    assert "translate" not in done.stdout


def test_version_is_that_of_the_package(tmp_path: Path) -> None:
    from mosdeploy import __version__

    assert mosdeploy("--version", cwd=tmp_path).stdout == f"mosdeploy {__version__}\n"


def test_module_runs_as_the_command_does(tmp_path: Path) -> None:
    done = run_python("-m", "mosdeploy", "train", cwd=tmp_path)
    assert done.returncode == 3
    assert "mosdeploy init" in done.stderr


LATENCY_IMPORT = ("latency", "import", "x.csv", "--device")
TRAIN_FIRST = "run `mosdeploy train` first"
RECIPES = ", ".join(list_recipes())


@pytest.mark.parametrize(
    ("words", "exit_code", "part"),
    [
        (("init", "--recipe", "huge"), 3, f"unknown recipe 'huge'; known: {RECIPES}"),
        (("profile", "--device", "rpy"), 3, "unknown device 'rpy'; did you mean 'rpi'?"),
        (("devices", "show", "toaster"), 3, "known devices: jetson-orin, local, rpi, "),
        (("search", "--max-latency", "150"), 3, "'150' is not a duration"),
        (("search", "--max-latency", "-5ms"), 3, "'-5ms' is not a duration"),
        (("search", "--max-latency", "0ms"), 3, "'0ms' is not a duration"),
        (("search", "--max-latency", "abc"), 3, "'abc' is not a duration"),
        (("search", "--max-parameters", "many"), 3, "'many' is not a count"),
        (("search",), 3, "a search needs a limit"),
        (("search", "--max-latency", "150ms"), 4, TRAIN_FIRST),
        (("export",), 4, TRAIN_FIRST),
        (("export", "--tune", "30"), 3, "'30' is not a time to spend"),
        (("export", "--runtime", "tf"), 2, "'--runtime': 'tf' is not one of 'onnxruntime', "),
        (("export", "--precision", "fp8"), 2, "--precision"),
        (("export", "--weights", "stolen"), 2, "--weights"),
        (("evaluate",), 4, TRAIN_FIRST),
        (("evaluate", "--beam", "0"), 2, "--beam"),
        (("finetune",), 4, TRAIN_FIRST),
        (("finetune", "--steps", "1.5"), 2, "'--steps': Input should be a valid integer"),
        (("finetune", "--steps", "1.5"), 2, "'1.5'"),
        (("finetune", "--seeds", "200"), 2, "less than or equal to 100, got '200'"),
        (("distill",), 4, TRAIN_FIRST),
        (("distill", "--beam", "0"), 2, "--beam"),
        (("fit",), 4, "run `mosdeploy profile` first"),
        (("deploy",), 4, "run `mosdeploy export` first"),
        (("deploy", "--rollback"), 4, "nothing was deployed from this folder; run `mosdeploy d"),
        (("deploy", "--rollback", "--bundle", "x"), 3, "--rollback goes back to what the device"),
        (("predict", "hello"), 4, "run `mosdeploy export` first"),
        (("translate", "hello"), 4, "run `mosdeploy export` first"),
        (("report",), 4, TRAIN_FIRST),
        (("train",), 3, "train.en"),
        (("profile", "--budget", "2"), 2, "--budget"),
        (("profile", "--until-error", "2"), 3, "'2' is not a percentage; write a number between"),
        (("profile", "--until-error", "-1%"), 3, "'-1%' is not a percentage"),
        (("profile", "--until-error", "abc"), 3, "'abc' is not a percentage"),
        (("fit", "--device", "xeon", "--from", "rpi"), 4, "run `mosdeploy profile` first"),
        ((*LATENCY_IMPORT, "rpi", "--workload", "sentence"), 3, "x.csv: no such file"),
        ((*LATENCY_IMPORT, "rpi", "--workload", "other"), 3, "--workload is 'other'"),
        ((*LATENCY_IMPORT, "rpy", "--workload", "sentence"), 3, "did you mean 'rpi'?"),
        ((*LATENCY_IMPORT, "rpi"), 2, "--workload"),
        (("wander",), 2, "wander"),
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


def test_outside_a_run_folder_the_message_names_init(tmp_path: Path) -> None:
    done = mosdeploy("train", cwd=tmp_path)
    assert done.returncode == 3
    assert "mosdeploy init" in done.stderr


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


def test_a_terminal_that_lacks_a_letter_gets_its_number(tmp_path: Path) -> None:
    code = "from mosdeploy.cli import app, main; app.app = lambda obj: print('caf\\u00e9'); main()"
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"caf\\xe9\n"


def test_an_unknown_key_names_the_nearest_known_one(tmp_path: Path) -> None:
    done = mosdeploy("train", cwd=run_folder(tmp_path, "[training]\nstep = 5\n"))
    assert done.returncode == 3
    assert "mosdeploy.toml: unknown key 'training.step'; did you mean 'steps'?" in done.stderr


def test_an_unknown_family_names_the_known_ones(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    path = folder / "mosdeploy.toml"
    path.write_text('family = "poetry"\n' + path.read_text())
    done = mosdeploy("train", cwd=folder)
    assert done.returncode == 3
    assert "unknown family 'poetry'; known: encoder, translation" in done.stderr


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


def test_quiet_leaves_errors_and_results(tmp_path: Path) -> None:
    failed = mosdeploy("-q", "train", cwd=tmp_path)
    assert "error: no mosdeploy.toml" in failed.stderr
    listed = mosdeploy("-q", "devices", "list", "--json", cwd=tmp_path)
    assert json.loads(listed.stdout)["devices"]


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


def test_what_is_told_to_a_closed_stderr_goes_to_no_other_file(tmp_path: Path) -> None:
    script = (
        "import sys; from mosdeploy.cli.streams import prepare_streams; prepare_streams()\n"
        "with open('other', 'w') as other:\n"
        "    print('told', file=sys.stderr, flush=True)"
    )
    words = f"{shlex.join([sys.executable, '-c', script])} 2>&-"
    subprocess.run(words, shell=True, cwd=tmp_path, env=ENVIRONMENT, check=True, timeout=60)
    assert (tmp_path / "other").read_text() == ""


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


def test_an_error_steers_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mosdeploy", "devices", "show", "\x1b[2Jrpi"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 3
    assert "unknown device '?[2Jrpi'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("mosdeploy pro", ["profile"]),
        ("mosdeploy devices s", ["show", "setup"]),
        ("mosdeploy search --max-l", ["--max-latency"]),
    ],
)
def test_a_shell_completes_commands_and_options(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: str,
    words: list[str],
) -> None:
    monkeypatch.setenv("_MOSDEPLOY_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(typed.count(" ")))
    with pytest.raises(SystemExit):
        app(prog_name="mosdeploy")
    assert capsys.readouterr().out.split() == words


def test_whoever_reads_may_have_seen_enough() -> None:
    """As `| head -1` with `set -o pipefail`."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*MOSDEPLOY, "devices", "list"], env=ENVIRONMENT, stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
