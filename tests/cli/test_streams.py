"""Where a command writes to, as it is: closed, gone, full, or a terminal that lacks letters."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ENVIRONMENT, MOSDEPLOY

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


def test_a_terminal_that_lacks_a_letter_gets_its_number(tmp_path: Path) -> None:
    code = "from mosdeploy.cli import app, main; app.app = lambda obj: print('caf\\u00e9'); main()"
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"caf\\xe9\n"


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


def test_what_is_told_to_a_closed_stderr_goes_to_no_other_file(tmp_path: Path) -> None:
    script = (
        "import sys; from mosdeploy.cli.streams import prepare_streams; prepare_streams()\n"
        "with open('other', 'w') as other:\n"
        "    print('told', file=sys.stderr, flush=True)"
    )
    words = f"{shlex.join([sys.executable, '-c', script])} 2>&-"
    subprocess.run(words, shell=True, cwd=tmp_path, env=ENVIRONMENT, check=True, timeout=60)
    assert (tmp_path / "other").read_text() == ""


def test_whoever_reads_may_have_seen_enough() -> None:
    """As `| head -1` with `set -o pipefail`."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*MOSDEPLOY, "devices", "list"], env=ENVIRONMENT, stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
