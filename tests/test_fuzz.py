"""Whatever a file of this machine says: it is read, or refused with an error of our own."""

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import synthetic
from fuzzing import change, damage, fuzzed, only
from hypothesis import given
from hypothesis import strategies as st
from latency_fixtures import SPEC, measured_dataset

from mosdeploy.config import load_run_config
from mosdeploy.config.device import load_profile
from mosdeploy.config.lookup import shipped_dir
from mosdeploy.errors import MosdeployError
from mosdeploy.export.bundle import read_manifest
from mosdeploy.families.encoder.tables import read_rows
from mosdeploy.latency.dataset import LatencyDataset
from mosdeploy.latency.predictor import LatencyPredictor
from mosdeploy.recipes import list_recipes, read_recipe
from mosdeploy.records import SearchResult, SupernetCard
from mosdeploy.storage import read_record

PREDICTOR = (Path(__file__).parents[1] / "predictors/rpi-wmt14-ende/predictor.json").read_text()

fuzz = fuzzed(30)


with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "latency.jsonl")
    measured_dataset(path, count=3)
    LATENCY = path.read_bytes()
    SESSIONS = path.with_name("sessions.jsonl").read_bytes()


def use_predictor(path: Path) -> None:
    found = LatencyPredictor.load(path)
    found.predict(found.space.genes([found.space.smallest, found.space.largest]))


def use_dataset(path: Path) -> None:
    dataset = LatencyDataset.load(path)
    dataset.missing([record.arch for record in dataset.records])
    dataset.samples(SPEC.space)


JSON: dict[str, tuple[str, Callable[[Path], object]]] = {
    "predictor": (PREDICTOR, use_predictor),
    "manifest": (
        synthetic.manifest(synthetic.SPACE.largest).model_dump_json(),
        lambda path: read_manifest(path.parent),
    ),
    "supernet": (
        synthetic.supernet().model_dump_json(),
        lambda path: read_record(SupernetCard, path, "mosdeploy train"),
    ),
    "result": (
        synthetic.search_result().model_dump_json(),
        lambda path: read_record(SearchResult, path, "mosdeploy search"),
    ),
}

TEXTS: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    "predictor": ("predictor.json", PREDICTOR.encode(), use_predictor),
    "latency": ("latency.jsonl", LATENCY, use_dataset),
    "csv": (
        "task.csv",
        b'text,label\n"a ""word"", or two",yes\nanother,no\n',
        lambda path: list(read_rows(path.name, path.parent)),
    ),
    "json-lines": (
        "task.jsonl",
        b'{"text": "a word", "label": 1}\n{"text": "another", "label": 0}\n',
        lambda path: list(read_rows(path.name, path.parent)),
    ),
    "profile": (
        "device_profiles/rpi.toml",
        (shipped_dir("device_profiles") / "rpi.toml").read_bytes(),
        lambda path: load_profile("rpi", path.parents[1]),
    ),
    **{
        f"recipe-{name}": (
            "mosdeploy.toml",
            read_recipe(name).encode(),
            lambda path: load_run_config(path).spec,
        )
        for name in list_recipes()
        if name in ("tiny", "minilm-l6")
    },
}


def attempt(act: Callable[[Path], object], path: Path) -> None:
    with only(MosdeployError):
        act(path)


@pytest.mark.parametrize("name", JSON)
@fuzz
@given(data=st.data())
def test_a_record_with_one_place_changed(tmp_path: Path, name: str, data: st.DataObject) -> None:
    text, act = JSON[name]
    content: dict[str, Any] = json.loads(text)
    change(content, data)
    path = tmp_path / ("manifest.json" if name == "manifest" else f"{name}.json")
    path.write_text(json.dumps(content))
    attempt(act, path)


@pytest.mark.parametrize("name", JSON)
def test_a_key_that_is_there_twice_is_refused(tmp_path: Path, name: str) -> None:
    text, act = JSON[name]
    path = tmp_path / ("manifest.json" if name == "manifest" else f"{name}.json")
    compact = json.dumps(json.loads(text))
    # where each key stands for the first time, first in its object: before it another value of it
    places = {found[1]: found for found in re.finditer(r'\{("[^"]+"): ', compact)}
    assert places
    for key, found in places.items():
        path.write_text(f"{compact[: found.start() + 1]}{key}: 0, {compact[found.start() + 1 :]}")
        with pytest.raises(MosdeployError, match=f"the key '{key[1:-1]}' is there twice"):
            act(path)


@pytest.mark.parametrize("name", TEXTS)
@fuzz
@given(data=st.data())
def test_a_file_with_a_piece_that_is_damaged(
    tmp_path: Path, name: str, data: st.DataObject
) -> None:
    file, content, act = TEXTS[name]
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    if name == "latency":
        path.with_name("sessions.jsonl").write_bytes(SESSIONS)
    path.write_bytes(damage(content, data))
    attempt(act, path)
