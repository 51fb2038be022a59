"""The verbs on an emulated aarch64 board, over SSH, as typed: what is measured there is worth
nothing, what is deployed there answers as it does here.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from board import RUNTIME_PYTHON, Board, NoPackagesError, obstacle, provide_root
from encoder_walking import make_encoder_folder
from made_once import made_once
from walking import edit, make_run_folder, opened

import mosdeploy
from mosdeploy.config.device import load_profile
from mosdeploy.devices.connect import open_session
from mosdeploy.devices.device import Device
from mosdeploy.errors import PredictorError
from mosdeploy.export.bundle import read_manifest
from mosdeploy.records import Deployment
from mosdeploy.runtime import Encoder, Translator
from mosdeploy.storage import read_record
from mosdeploy.workspace import Workspace

pytestmark = [pytest.mark.arm64, pytest.mark.timeout(1800)]

BOARD = """
name = "{name}"
host = "board"
machine = "aarch64"
llvm_cpu = "cortex-a72"
python = "{python}"
work_dir = "~/{name}"
emulated = true
connect_timeout_s = 60
command_timeout_s = 300
[measure]
warmup = 1
min_time_s = 0.0
max_time_s = 0.1
max_drift_percent = 1e6  # no emulator is too busy for a test
candidate_timeout_s = 600
"""
LINES = [
    "one two three",
    "nine",
    "four four seven",
    "ten one",
    "eight six five two",
    "",
    "three zebra nine",
]
TEXTS = [
    "the film is bright",
    "it was dull and long",
    "a story",
    "cold",
    "the story is clear and the film was vague",
    "was it warm",
    "it was a long and bright story " * 9,
]
ANSWER = """
import json, sys
from mosdeploy_runtime import open_model
from mosdeploy_runtime.self_test import run_self_test
bundles, further, texts = map(json.loads, sys.argv[1:])
said = []
for bundle in bundles:
    m = open_model(bundle, 1, **further)
    ids = [m.predict_ids([m.tokenizer.encode(text)])[0] for text in texts]
    said.append([run_self_test(m).failures, ids, m.answer(texts) if further else None])
print(json.dumps(said))
"""
WINDOW = {"long": "window"}


@pytest.fixture(scope="session")
def board(tmp_path_factory):
    reason = obstacle()
    if reason:
        pytest.skip(reason)
    try:
        root = provide_root()
    except NoPackagesError as error:
        pytest.skip(f"cannot make the root of a board: {error}")
    switched_on = Board(root, tmp_path_factory.mktemp("board"))
    yield switched_on
    switched_on.close()


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A trained run folder with a bundle of each precision, and the board's profiles."""
    made = made_once(tmp_path_factory, "trained-for-boards", make_trained_folder)
    return shutil.copytree(made, tmp_path_factory.mktemp("walk") / "run")


def make_trained_folder(root):
    make_run_folder(root)
    config = root / "mosdeploy.toml"
    edit(config, "\nsteps = 12", "\nsteps = 300")
    edit(config, "budget = 12", "budget = 4")
    edit(config, "[workload]", '[supernet]\nrouting = "none"\n[workload]')
    write_profiles(root)
    typed(root, "train")
    for precision in ("fp32", "int8"):
        typed(root, "export", "--pick", "largest", "--precision", precision)


def write_profiles(root):
    for name, python in (("board", RUNTIME_PYTHON), ("bare", "python3")):
        (root / "device_profiles" / f"{name}.toml").write_text(
            BOARD.format(name=name, python=python)
        )


def typed(folder, *words, exit_code=0):
    """Run a verb as a user does; what it prints on stdout and on stderr."""
    command = [
        sys.executable,
        "-c",
        "from mosdeploy.cli import main; main()",
        *words,
        "--dir",
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1700)
    assert done.returncode == exit_code, done.stderr
    return done.stdout, done.stderr


def test_the_board_is_an_emulated_cortex_a72(board, folder):
    said, _ = typed(
        folder, "--ssh-config", str(board.files.config), "devices", "check", "board", "--json"
    )
    checked = json.loads(said)
    state = checked["state"]
    assert (state["machine"], state["provider_error"]) == ("aarch64", None)
    assert "asimd" in state["cpu_features"]
    assert "asimddp" not in state["cpu_features"]  # as on a Raspberry Pi 4: no dot products
    assert not [problem for problem in checked["problems"] if problem["blocking"]]
    assert any("the device is emulated" in problem["what"] for problem in checked["problems"])


def test_setup_sends_wheels_to_a_board_without_internet(board, folder):
    ssh = ("--ssh-config", str(board.files.config))
    said, _ = typed(folder, *ssh, "devices", "check", "bare", exit_code=5)
    assert said.startswith("bare: NOT ready\n\nto do first:\n")
    assert "  not installed: numpy, onnxruntime, sentencepiece\n" in said
    assert re.search(r"\n      mosdeploy devices check bare\S* --setup\n", said)
    said, progress = typed(folder, *ssh, "devices", "check", "bare", "--setup")
    assert said.startswith("bare: ready")
    assert "the runtime is in /home/tester/bare/venv/bin/python" in progress
    assert "sending wheels" in progress


def test_what_the_board_measures_enters_no_predictor(board, folder):
    ssh = ("--ssh-config", str(board.files.config))
    said, progress = typed(folder, *ssh, "profile", "--device", "board")
    assert "board: 4 measured now, 4 in" in said
    assert "emulated: not a latency" in said
    assert "ms, emulated" in progress
    path = Workspace(folder).latency_path("board", "sentence")
    context, *records = [json.loads(line) for line in path.read_text().splitlines()]
    assert context["device"]["emulated"] is True
    assert [record["measurement"]["error"] for record in records] == [None] * 4
    (session,) = [
        json.loads(line) for line in (path.parent / "sessions.jsonl").read_text().splitlines()
    ]
    assert session["emulated"] is True
    assert session["after"]["machine"] == "aarch64"
    summary = json.loads(typed(folder, *ssh, "profile", "--device", "board", "--json")[0])
    assert (summary["measured_now"], summary["emulated"], summary["card"]) == (0, True, None)
    run = mosdeploy.open_run(folder, ssh_config=board.files.config)
    reason = "board is an emulated device: its times mean nothing"
    for refused in (
        lambda: run.fit("board"),
        lambda: run.search("9s", device="board"),
        lambda: run.search("9s", device="board", verify=False),
        lambda: run.search(max_parameters=9_000_000, device="board"),
    ):
        with pytest.raises(PredictorError, match=reason):
            refused()
    assert not path.with_name("predictor.json").exists()


def test_bundles_answer_on_the_board_as_here(board, folder):
    bundles = [onnx_bundle(folder, precision) for precision in ("int8", "fp32")]
    here = [Translator(bundle, threads=1) for bundle in bundles]
    deploy_and_compare(board, folder, bundles, here)


def onnx_bundle(folder, precision):
    (bundle,) = (folder / "bundles").glob(f"*{precision}-beam1")
    return bundle


@pytest.mark.skipif(
    shutil.which("aarch64-linux-gnu-g++") is None, reason="no cross compiler for aarch64"
)
def test_a_compiled_bundle_answers_on_the_board_as_onnx_here(board, folder):
    pytest.importorskip("tvm")
    typed(folder, "export", "--pick", "largest", "--runtime", "tvm", "--device", "board")
    (bundle,) = (folder / "bundles").glob("*-tvm-board")
    assert read_manifest(bundle).processor == "aarch64 cortex-a72"
    deploy_and_compare(
        board, folder, [bundle], [Translator(onnx_bundle(folder, "fp32"), threads=1)]
    )


def test_encoders_answer_on_the_board_as_here(board, tmp_path):
    bundles = [
        # the layers, and so what int8 does, are the same for all kinds
        *encoder_bundles(tmp_path / "classification", "fp32", "int8"),
        *encoder_bundles(tmp_path / "tagging", "fp32"),
        *encoder_bundles(tmp_path / "embedding", "fp32"),
    ]
    root = tmp_path / "classification"
    deployment = deployed(board, root, bundles[0])
    said = on_the_board(board, root, deployment, bundles[1:], TEXTS, WINDOW)
    for bundle, (scores, answers) in zip(bundles, said, strict=True):
        here = Encoder(bundle, threads=1)
        compare_scores(scores, here)
        if here.manifest.precision == "fp32":
            assert_alike(answers, Encoder(bundle, threads=1, **WINDOW).answer(TEXTS))


def encoder_bundles(root, *precisions):
    """Bundles of an encoder of the kind that the folder is named by, which is trained there."""
    run = opened(make_encoder_folder(root, root.name, steps="200"))
    write_profiles(root)
    run.train()
    return [run.export("largest", precision=precision).path for precision in precisions]


def assert_alike(found, expected):
    """Objects for JSON with the same words, and numbers within rounding."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other)
    else:
        assert found == (pytest.approx(expected, abs=1e-4) if type(expected) is float else expected)


def compare_scores(found, here):
    """Each score within rounding; in int8, where processors round differently, alike."""
    expected = [here.predict_ids([here.tokenizer.encode(text)])[0] for text in TEXTS]
    # a network that always says the same would prove nothing
    assert len({tuple(np.round(row[:3], 3)) for row in expected}) > 3
    scale = np.abs(np.concatenate(expected)).max()
    tolerance = 1e-4 if here.manifest.precision == "fp32" else 0.1 * scale
    for row, wanted in zip(found, expected, strict=True):
        assert row == pytest.approx(wanted, abs=tolerance)


def deploy_and_compare(board, folder, bundles, here):
    """Deploy the first bundle, send the others along, and compare what each answers with the model
    here that stands for it.
    """
    deployment = deployed(board, folder, bundles[0])
    said = on_the_board(board, folder, deployment, bundles[1:], LINES)
    for model, (found, _) in zip(here, said, strict=True):
        expected = [model.predict_ids([model.tokenizer.encode(line)])[0] for line in LINES]
        # a network that always says the same would prove nothing
        assert len({tuple(ids) for ids in expected}) > 3
        assert found == expected


def deployed(board, folder, bundle):
    words = ("deploy", "--device", "board", "--bundle", str(bundle))
    said, _ = typed(folder, "--ssh-config", str(board.files.config), *words)
    assert "self-test passed" in said
    assert "emulated: not a latency" in said
    deployment = read_record(
        Deployment, Workspace(folder).deployment_path("board"), "mosdeploy deploy"
    )
    assert (deployment.bundle, deployment.device.emulated) == (bundle.name, True)
    assert deployment.state.machine == "aarch64"
    return deployment


def on_the_board(board, folder, deployment, others, lines, further=None):
    """Token ids or scores of each line as the deployed bundle gives them there, and its answers, if
    it is opened with something further; then those of other bundles, which are sent along. All
    pass their self-tests there, in one process.
    """
    profile = load_profile("board", folder)
    with open_session(profile, Path(board.files.config)) as session:
        paths = [f"{deployment.remote_dir}/bundle"]
        for number, bundle in enumerate(others):
            paths.append(f"{session.home()}/sent/{folder.name}/{number}")
            for file in bundle.iterdir():
                session.put(file, f"{paths[-1]}/{file.name}")
        words = (json.dumps(each) for each in (paths, further or {}, lines))
        result = Device(session, profile).run_python(
            shlex.join(["-c", ANSWER, *words]),
            timeout_s=900,
            environment=f"PYTHONPATH={shlex.quote(deployment.remote_dir)}",
        )
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout.splitlines()[-1])
    assert [failures for failures, *_ in said] == [[]] * len(paths)
    return [found for _, *found in said]
