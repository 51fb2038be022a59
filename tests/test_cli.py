"""The command line as typed: what it loads, what it prints where, how it exits."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SPACE = """
encoder_embed_dim = [16]
decoder_embed_dim = [16]
encoder_layers = [1]
decoder_layers = [1, 2]
encoder_ffn_dim = [16]
decoder_ffn_dim = [16]
encoder_heads = [2]
decoder_self_heads = [2]
decoder_cross_heads = [2]
qkv_dim = 16
"""


def mosdeploy(*words: str, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from mosdeploy.cli import main; main()", *words]
    return subprocess.run(
        command, cwd=cwd, input=stdin, capture_output=True, text=True, timeout=120
    )


def run_folder(root: Path, extra: str = "") -> Path:
    (root / "mosdeploy.toml").write_text(f'[corpus]\ntrain = "data/train"\n[space]{SPACE}{extra}')
    return root


def test_help_lists_the_walk_and_loads_no_heavy_library(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom mosdeploy.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'onnxruntime', 'onnx', 'paramiko', 'sklearn', 'sentencepiece', 'scipy', 'pydantic'}\n"
        "heavy = (heavy | {'numpy'}) & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    command = [sys.executable, "-c", code, "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for verb in (
        "init",
        "train",
        "profile",
        "fit",
        "search",
        "evaluate",
        "export",
        "deploy",
        "translate",
        "report",
        "demo",
    ):
        assert verb in done.stdout


def test_init_writes_a_run_file_once_and_names_the_next_command(tmp_path: Path) -> None:
    first = mosdeploy("init", "--device", "rpi", cwd=tmp_path)
    assert first.returncode == 0
    assert "mosdeploy train" in first.stderr
    assert 'device = "rpi"' in (tmp_path / "mosdeploy.toml").read_text()
    second = mosdeploy("init", cwd=tmp_path)
    assert second.returncode == 3
    assert "exists already" in second.stderr


@pytest.mark.parametrize(
    "recipe", ["tiny", "wmt14.en-de", "wmt14.en-fr", "wmt19.en-de", "iwslt14.de-en"]
)
def test_every_recipe_is_a_valid_run_file(tmp_path: Path, recipe: str) -> None:
    from mosdeploy.pipeline import init, open_run

    init(tmp_path, recipe, None)
    assert open_run(tmp_path).config.space.num_architectures > 1000


@pytest.mark.parametrize(
    ("words", "exit_code", "part"),
    [
        (
            ("init", "--recipe", "huge"),
            3,
            "unknown recipe 'huge'; known: iwslt14.de-en, tiny, wmt14.en-de, wmt14.en-fr, wmt19.en-de",
        ),
        (("profile", "--device", "rpy"), 3, "unknown device 'rpy'; did you mean 'rpi'?"),
        (("devices", "show", "toaster"), 3, "known devices: local, rpi, titanxp, xeon"),
        (("search", "--max-latency", "150"), 3, "'150' is not a duration"),
        (("search", "--max-latency", "-5ms"), 3, "'-5ms' is not a duration"),
        (("search", "--max-latency", "0ms"), 3, "'0ms' is not a duration"),
        (("search", "--max-latency", "abc"), 3, "'abc' is not a duration"),
        (("search", "--max-parameters", "many"), 3, "'many' is not a count"),
        (("search",), 3, "a search needs a limit"),
        (("search", "--max-latency", "150ms"), 4, "run `mosdeploy train` first"),
        (("export",), 4, "run `mosdeploy train` first"),
        (("evaluate",), 4, "run `mosdeploy train` first"),
        (("fit",), 4, "run `mosdeploy profile` first"),
        (("deploy",), 4, "run `mosdeploy export` first"),
        (
            ("deploy", "--rollback"),
            4,
            "nothing was deployed from this folder; run `mosdeploy deploy`",
        ),
        (
            ("deploy", "--rollback", "--bundle", "x"),
            3,
            "--rollback goes back to what the device holds",
        ),
        (("translate", "hello"), 4, "run `mosdeploy export` first"),
        (("report",), 4, "run `mosdeploy train` first"),
        (("train",), 3, "train.en"),
        (("profile", "--budget", "2"), 2, "--budget"),
        (
            ("profile", "--until-error", "2"),
            3,
            "'2' is not a percentage; write a number between",
        ),
        (("profile", "--until-error", "-1%"), 3, "'-1%' is not a percentage"),
        (("profile", "--until-error", "abc"), 3, "'abc' is not a percentage"),
        (("fit", "--device", "xeon", "--from", "rpi"), 4, "run `mosdeploy profile` first"),
        (
            ("latency", "import", "x.csv", "--device", "rpi", "--workload", "sentence"),
            3,
            "x.csv: no such file",
        ),
        (
            ("latency", "import", "x.csv", "--device", "rpi", "--workload", "other"),
            3,
            "--workload is 'other'",
        ),
        (
            ("latency", "import", "x.csv", "--device", "rpy", "--workload", "sentence"),
            3,
            "did you mean 'rpi'?",
        ),
        (("latency", "import", "x.csv", "--device", "rpi"), 2, "--workload"),
    ],
)
def test_a_wrong_command_says_what_to_do_and_has_its_exit_code(
    tmp_path: Path, words: tuple[str, ...], exit_code: int, part: str
) -> None:
    done = mosdeploy(*words, cwd=run_folder(tmp_path))
    assert done.returncode == exit_code, done.stderr
    assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_outside_a_run_folder_the_message_names_init(tmp_path: Path) -> None:
    done = mosdeploy("train", cwd=tmp_path)
    assert done.returncode == 3
    assert "mosdeploy init" in done.stderr


def test_an_unknown_key_names_file_key_and_the_nearest_known_one(tmp_path: Path) -> None:
    done = mosdeploy("train", cwd=run_folder(tmp_path, "[training]\nupdate = 5\n"))
    assert done.returncode == 3
    assert "mosdeploy.toml: unknown key 'training.update'; did you mean 'updates'?" in done.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = mosdeploy("train", "--debug", cwd=tmp_path)
    assert "Traceback" in done.stderr
    assert "ConfigError" in done.stderr


def test_an_import_tells_what_it_left_out_and_prints_its_card_as_one_record(tmp_path: Path) -> None:
    from mosdeploy.families.translation.hat import FEATURE_COLUMNS, TIME_COLUMNS

    lines = [",".join((*FEATURE_COLUMNS, *TIME_COLUMNS))]
    for i in range(80):
        depth, slow = 1 + i % 2, 2 if 20 <= i < 40 else 1
        lines.append(f"16,1,16,2,16,{depth},16,2,2,1,{10 * slow},{5 * depth * slow}")
    (tmp_path / "board.csv").write_text("\n".join(lines))
    words = (
        "latency",
        "import",
        "board.csv",
        "--device",
        "rpi",
        "--workload",
        "sentence",
        "--licence",
        "MIT",
    )
    told = mosdeploy(*words, cwd=run_folder(tmp_path))
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(
        "left out rows 20-39: +100% against the rest\nrpi-sentence (PyTorch eager"
    )
    assert "mosdeploy search --device rpi" in told.stderr
    card = json.loads(mosdeploy(*words, "--json", cwd=tmp_path).stdout)
    assert (card["licence"], card["num_samples"], card["source"]) == ("MIT", 60, "board.csv")


def test_devices_list_and_show(tmp_path: Path) -> None:
    listed = mosdeploy("devices", "list", cwd=tmp_path)
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()[2:]] == [
        "local",
        "rpi",
        "titanxp",
        "xeon",
    ]
    shown = mosdeploy("devices", "show", "rpi", cwd=tmp_path)
    assert json.loads(shown.stdout)["host"] == "rpi"


def test_a_profile_in_the_run_folder_wins_over_the_shipped_one(tmp_path: Path) -> None:
    folder = tmp_path / "device_profiles"
    folder.mkdir()
    (folder / "rpi.toml").write_text('name = "rpi"\nhost = "kitchen"\n')
    done = mosdeploy("devices", "show", "rpi", cwd=tmp_path)
    assert json.loads(done.stdout)["host"] == "kitchen"


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from mosdeploy.cli import main; main()", "translate"]
    done = subprocess.run(
        command, cwd=run_folder(tmp_path), input=b"\xff\xfe\n", capture_output=True, timeout=60
    )
    assert done.returncode == 3
    assert b"not UTF-8" in done.stderr
