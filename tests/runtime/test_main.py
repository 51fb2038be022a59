"""The command line, from a copy of the folder alone, as it stands on a device."""

import ast
import importlib.metadata
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from bundles import sentences
from packaging.requirements import Requirement

import mosdeploy.runtime
from mosdeploy.runtime import Translator

RUNTIME_DIR = Path(mosdeploy.runtime.__file__).parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
OTHERS = ("torch", "pydantic", "typer", "onnx", "sklearn", "paramiko", "mosdeploy", "tvm")


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds nothing but the runtime."""
    home = tmp_path_factory.mktemp("device")
    shutil.copytree(
        RUNTIME_DIR, home / "mosdeploy_runtime", ignore=shutil.ignore_patterns("__pycache__")
    )
    return home


def command(
    device: Path, *arguments: object, lines: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    call = [sys.executable, "-m", "mosdeploy_runtime", *map(str, arguments)]
    return subprocess.run(
        call, cwd=device, env=ENVIRONMENT, input=lines, capture_output=True, timeout=60
    )


def test_lines_in_lines_out(device: Path, fp32_bundle: Path) -> None:
    lines = ["the cat.", "", "ärger", *sentences(5, 4)]
    done = command(device, fp32_bundle, "--threads", 1, lines="\r\n".join(lines).encode())
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().split("\n") == [
        *Translator(fp32_bundle, threads=1).predict(lines),
        "",
    ]


def test_json_and_the_self_test(device: Path, bundle: Path, edit: Callable) -> None:
    done = command(device, bundle, "--json", lines="the cat é.\n".encode())
    (expected,) = Translator(bundle, threads=1).predict(["the cat é."])
    # random weights end no sentence
    answer = {"input": "the cat é.", "output": expected, "is_unfinished": True}
    assert json.loads(done.stdout) == answer
    assert b"warning: 1 of 1 translations were cut at the most tokens" in done.stderr
    done = command(device, bundle, "--self-test", "--json")
    assert done.returncode == 0 and done.stdout.count(b"\n") == 1
    assert json.loads(done.stdout) == {"passed": True, "failures": [], "agreement": 1.0}
    edit(lambda data: data["self_test"][0].update(input_ids=[4]))
    done = command(device, bundle, "--self-test")
    assert done.returncode == 1 and json.loads(done.stdout)["passed"] is False


def test_a_provider_that_is_not_there_does_not_fall_back(device: Path, bundle: Path) -> None:
    done = command(device, bundle, "--self-test", "--provider", "CUDAExecutionProvider")
    assert done.returncode == 8 and b"has no CUDAExecutionProvider" in done.stderr
    # as of a variable of the shell that is not set
    done = command(device, bundle, "--self-test", "--provider", "")
    assert done.returncode == 8 and b"has no , only" in done.stderr
    done = command(device, bundle, "--self-test", "--provider", "CPUExecutionProvider")
    assert done.returncode == 0


@pytest.mark.parametrize("arguments", [["--threads", "0"], ["--threads", "x"], ["--unknown"]])
def test_wrong_usage_is_code_2(device: Path, fp32_bundle: Path, arguments: list[str]) -> None:
    done = command(device, fp32_bundle, *arguments)
    assert done.returncode == 2 and b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "text", "message"),
    [
        (["--jsonl"], b'\xef\xbb\xbf{"text": "the cat"}\nno object\n', b"line 2 is not JSON"),
        ([], b"the cat\n\xff\n", b"line 2 is not UTF-8"),
        ([], b"the cat\n" + b"x" * 70_000, b"line 2: 'xxx"),
        ([], b"the cat\n" + b"x" * (2**24 + 2**17), b"a line is longer than 16 MiB"),
    ],
)
def test_lines_before_one_that_cannot_be_read_are_answered(
    device: Path, fp32_bundle: Path, options: list[str], text: bytes, message: bytes
) -> None:
    whole = command(device, fp32_bundle, lines=b"the cat\n")
    done = command(device, fp32_bundle, *options, lines=text)
    assert (done.returncode, done.stdout) == (2, whole.stdout)
    assert message in done.stderr and b"Traceback" not in done.stderr


def test_a_line_of_a_pipe_is_answered_before_the_next_one_comes(
    device: Path, fp32_bundle: Path
) -> None:
    call = [sys.executable, "-m", "mosdeploy_runtime", str(fp32_bundle)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    found = []
    with subprocess.Popen(call, cwd=device, env=ENVIRONMENT, **pipes) as process:
        for line in (b"the cat.\n", b"a house.\nthe ", b"cat.\n"):
            process.stdin.write(line)
            process.stdin.flush()
            found.append(process.stdout.readline())
        process.stdin.write(b"a house.")  # without an end
        process.stdin.close()
        found.append(process.stdout.readline())
    cat, house = Translator(fp32_bundle, threads=1).predict(["the cat.", "a house."])
    assert b"".join(found).decode().splitlines() == [cat, house, cat, house]
    assert process.returncode == 0


def test_a_bundle_does_not_steer_the_terminal(device: Path, bundle: Path, edit: Callable) -> None:
    """ONNX Runtime repeats the names that stand in a model."""
    edit(lambda data: None)
    model = bundle / "model.onnx"
    graph = onnx.load(model)
    graph.graph.node[0].op_type = "\x1b[2JNope"
    onnx.save(graph, model)
    edit(lambda data: None, rehash=True)
    done = command(device, bundle, lines=b"the cat\n")
    assert done.returncode == 8
    assert b"?[2JNope" in done.stderr and b"\x1b" not in done.stderr


def in_shell(
    device: Path, bundle: Path, words: str, lines: bytes
) -> subprocess.CompletedProcess[bytes]:
    """The same command with its streams redirected."""
    call = shlex.join([sys.executable, "-m", "mosdeploy_runtime", str(bundle)])
    script = ["bash", "-c", f"set -o pipefail; {call} {words}"]
    return subprocess.run(
        script, cwd=device, env=ENVIRONMENT, input=lines, capture_output=True, timeout=60
    )


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("> /dev/full", 2, b"error: the answers cannot be written: No space left on device\n"),
        (">&-", 2, b"error: stdout is closed; send the answers to a file, a pipe or /dev/null\n"),
        ("<&-", 2, b"error: stdin is closed; give the lines by a file or a pipe\n"),
        ("0> /dev/null", 2, b"error: the lines cannot be read: Bad file descriptor\n"),
        ("--self-test > /dev/full", 2, b"error: the answers cannot be written: No space left on"),
        ("--self-test <&- > /dev/null", 0, b""),
        ("--time 2> /dev/full", 0, b""),
        ("| head -c 0", 0, b""),  # whoever reads has seen enough
    ],
)
def test_a_stream_that_fails_is_one_line_on_stderr(
    device: Path, fp32_bundle: Path, words: str, code: int, message: bytes
) -> None:
    done = in_shell(device, fp32_bundle, words, b"the cat.\n" * 600)
    assert (done.returncode, done.stderr[: len(message)]) == (code, message)
    assert done.stderr.count(b"\n") == bool(message)


@pytest.mark.parametrize("moment", ["loading", "reading"])
def test_ctrl_c_is_code_130_without_a_traceback(
    device: Path, fp32_bundle: Path, tmp_path: Path, moment: str
) -> None:
    slow = (
        tmp_path / "numpy.py"
    )  # in the place of numpy: says that it is being imported, and takes its time
    slow.write_text(
        "import sys, time\nprint('loading', file=sys.stderr, flush=True)\ntime.sleep(60)\n"
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": str(tmp_path) if moment == "loading" else ""}
    call = [sys.executable, "-m", "mosdeploy_runtime", str(fp32_bundle)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

    def heed() -> None:  # a suite that runs in the background may have been told to ignore it
        signal.signal(signal.SIGINT, signal.default_int_handler)

    with subprocess.Popen(call, cwd=device, env=environment, preexec_fn=heed, **pipes) as process:
        if moment == "loading":
            assert process.stderr.readline() == b"loading\n"
        else:  # it has answered, and waits for more
            process.stdin.write(b"the cat.\n" * 512)
            process.stdin.flush()
            assert all(process.stdout.readline() for _ in range(512))
            time.sleep(
                0.5
            )  # Python heeds a signal that comes just before a blocking read only after it
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)  # with its input open: at the end of that it would leave with 0
        messages = process.stderr.read()
    assert process.returncode == 130
    assert messages.endswith(b"interrupted\n") and b"Traceback" not in messages


def distributions(*names: str) -> dict[str, importlib.metadata.Distribution]:
    """Installed packages and all that they require."""
    found: dict[str, importlib.metadata.Distribution] = {}
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = importlib.metadata.distribution(name)
            required = map(Requirement, found[name].requires or [])
            # without extras, and nothing that other systems need
            todo += [x.name for x in required if not x.marker or x.marker.evaluate({"extra": ""})]
    return found


def test_an_environment_with_three_packages_translates(
    device: Path, fp32_bundle: Path, tmp_path: Path
) -> None:
    venv.create(tmp_path / "venv")
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    for distribution in distributions("numpy", "onnxruntime", "sentencepiece").values():
        for top in {
            file.parts[0]
            for file in distribution.files or []
            if file.parts[0] not in ("..", "__pycache__")
        }:
            (site / top).symlink_to(distribution.locate_file(top))
    python = tmp_path / "venv" / "bin" / "python"
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    for name in OTHERS:
        done = subprocess.run(
            [python, "-c", f"import {name}"], cwd=tmp_path, env=environment, capture_output=True
        )
        assert b"No module named" in done.stderr, name
    call = [python, "-m", "mosdeploy_runtime", str(fp32_bundle), "--threads", "1"]
    done = subprocess.run(
        call, cwd=device, env=environment, input=b"the cat.\n", capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().splitlines() == Translator(fp32_bundle, threads=1).predict(
        ["the cat."]
    )


@pytest.mark.parametrize("path", sorted(RUNTIME_DIR.glob("*.py")), ids=lambda path: path.name)
def test_the_source_is_python_3_9(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    futures = [x for x in tree.body if isinstance(x, ast.ImportFrom) and x.module == "__future__"]
    assert [alias.name for x in futures for alias in x.names] == ["annotations"]
