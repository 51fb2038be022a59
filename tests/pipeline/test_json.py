"""`--json` prints one record and nothing else, in every verb."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from mosdeploy.cli import main
from mosdeploy.pipeline.demo import LIMIT_SHARES

VERBS = {
    "init --dir new": ("path", "recipe"),
    "train": ("supernet_sha256",),
    "train --dry-run": ("costs",),
    "profile": ("measured_now", "card"),
    "fit": ("mape_percent",),
    "finetune --pick smallest --steps 2": ("subnet_sha256", "loss"),
    "search --max-latency 10s": ("winner", "front"),
    "evaluate --pick smallest": ("subnets",),
    "export --pick smallest": ("sha256", "parity"),
    "deploy": ("remote_dir", "measurement"),
    "verify --max-latency 10s": ("kept", "measurement"),
    "predict one two": ("bundle", "predictions"),
    "report": ("headline", "search"),
    "demo --dir .": ("search", "scores", "deployment", "page"),
    "devices list": ("devices",),
    "devices check local": ("state", "problems"),
    "devices check local --setup": ("state", "problems"),
}


@pytest.fixture(scope="module")
def folder(walked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(walked, tmp_path_factory.mktemp("json") / "run"))


SLOW = {
    "train --dry-run",  # starts a process for each way to share weights
    "demo --dir .",  # the other verbs once more
}


@pytest.mark.parametrize(
    "line", [pytest.param(x, marks=[pytest.mark.slow] if x in SLOW else []) for x in VERBS]
)
def test_a_verb_prints_one_record(
    line: str, folder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    if line.startswith("demo"):  # walks folders of its own alone
        folder = Path(shutil.copytree(folder, tmp_path / "demo"))
        run_file = folder / "mosdeploy.toml"
        run_file.write_text(run_file.read_text() + '\n[deploy]\nname = "demo-tiny"\n')
        monkeypatch.setitem(LIMIT_SHARES, "tiny", 5.0)  # that a busy machine keeps
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["mosdeploy", *line.split(), "--json"])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    (record,) = capsys.readouterr().out.splitlines()
    assert set(VERBS[line]) <= set(json.loads(record))


def test_outputs_stand_beside_their_sources(folder: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(folder)
    outputs = []
    for option in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["mosdeploy", "predict", "one two", "", *option])
        with pytest.raises(SystemExit):
            main()
        outputs.append(capsys.readouterr().out)
    pairs = json.loads(outputs[1])["predictions"]
    assert [pair["input"] for pair in pairs] == ["one two", ""]
    assert [pair["output"] for pair in pairs] == outputs[0].removesuffix("\n").split("\n")
