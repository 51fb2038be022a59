"""Records of other versions: those that released ones wrote in a walk (golden/), and ones that a
newer mosdeploy might write. Each is read, or refused by name with what to do.
"""

import json
import shutil
from pathlib import Path

import pytest
import synthetic

from mosdeploy.errors import BundleError, StaleInputError
from mosdeploy.export.bundle import read_manifest
from mosdeploy.families.translation.elastic import build_supernet
from mosdeploy.latency.dataset import LatencyDataset
from mosdeploy.latency.predictor import LatencyPredictor
from mosdeploy.latency.sessions import read_sessions
from mosdeploy.record import Record
from mosdeploy.records import (
    BundleManifest,
    DataCard,
    Deployment,
    ScoreTable,
    SearchResult,
    SubnetCard,
    SupernetCard,
)
from mosdeploy.runtime.manifest import read_manifest as read_on_device
from mosdeploy.storage import read_record, sha256_file, write_record
from mosdeploy.supernet.checkpoint import load_subnet, load_supernet

GOLDEN = Path(__file__).parent / "golden" / "0.1.0"
GOLDEN_0_2_0 = GOLDEN.with_name("0.2.0")

NOW = {
    "manifest.json": synthetic.manifest(synthetic.SPACE.largest),
    "deployment.json": synthetic.deployment(10.0),
    "result.json": synthetic.search_result(),
    "scores.json": synthetic.scores(synthetic.SPACE.largest),
    "supernet.json": synthetic.supernet(),
}


@pytest.mark.parametrize(
    ("name", "kind", "verb"),
    [
        ("supernet.json", SupernetCard, "mosdeploy train"),
        ("corpus.json", DataCard, "mosdeploy train"),
        ("result.json", SearchResult, "mosdeploy search"),
        ("scores.json", ScoreTable, "mosdeploy evaluate"),
        ("manifest.json", BundleManifest, "mosdeploy export"),
    ],
)
def test_what_0_1_0_made_is_refused_by_name(name: str, kind: type[Record], verb: str) -> None:
    with pytest.raises(StaleInputError) as caught:
        read_record(kind, GOLDEN / name, verb)
    assert str(caught.value) == (
        f"{GOLDEN / name} was made by an older mosdeploy (version 1, needed is 2); "
        f"run `{verb}` again"
    )


def test_a_bundle_of_0_1_0_is_refused_by_name(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "manifest.json", tmp_path)
    with pytest.raises(BundleError, match=r"an older mosdeploy.*run `mosdeploy export` again"):
        read_manifest(tmp_path)


def test_what_0_1_0_deployed_and_measured_is_read() -> None:
    deployment = read_record(Deployment, GOLDEN / "deployment.json", "mosdeploy deploy")
    assert deployment.measurement.total is not None
    assert sorted(deployment.measurement.parts) == ["decoder", "encoder"]
    assert "onnxruntime" in deployment.state.packages
    dataset = LatencyDataset.load(GOLDEN / "latency.jsonl")
    assert [record.measurement.rounds for record in dataset.usable] == [1, 1]
    (session,) = read_sessions(GOLDEN / "latency.jsonl")
    assert {record.session for record in dataset.records} == {session.session}
    assert dataset.context.graph_sha256 is None
    predictor = LatencyPredictor.load(GOLDEN / "predictor.json")
    assert predictor.card.num_samples == 12


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("supernet.json", SupernetCard),
        ("data.json", DataCard),
        ("result.json", SearchResult),
        ("subnet.json", SubnetCard),
        ("scores.json", ScoreTable),
        ("manifest.json", BundleManifest),
        ("deployment.json", Deployment),
    ],
)
def test_what_0_2_0_made_is_read(name: str, kind: type[Record]) -> None:
    path = GOLDEN_0_2_0 / name
    record = read_record(kind, path, "mosdeploy VERB")
    # all of it as it was
    again = json.loads(record.model_dump_json())
    assert again == again | json.loads(path.read_text())


def test_what_0_2_0_measured_and_trained_is_read() -> None:
    dataset = LatencyDataset.load(GOLDEN_0_2_0 / "latency.jsonl")
    assert len(dataset.usable) == 3
    assert dataset.context.graph_sha256 is not None
    (session,) = read_sessions(GOLDEN_0_2_0 / "latency.jsonl")
    assert {record.session for record in dataset.records} == {session.session}
    assert LatencyPredictor.load(GOLDEN_0_2_0 / "predictor.json").card.num_samples == 12
    net = load_supernet(GOLDEN_0_2_0 / "supernet.safetensors", build_supernet)
    card = read_record(SubnetCard, GOLDEN_0_2_0 / "subnet.json", "mosdeploy finetune")
    assert card.supernet_sha256 == sha256_file(GOLDEN_0_2_0 / "supernet.safetensors")
    path = GOLDEN_0_2_0 / "subnet.safetensors"
    assert sum(p.numel() for p in load_subnet(path, net.space, net.skeleton).parameters()) > 0


def test_a_bundle_of_0_2_0_is_one_that_the_runtime_knows() -> None:
    manifest = read_on_device(GOLDEN_0_2_0)
    assert (manifest.family, manifest.runtime) == ("translation", "onnxruntime")
    assert len(manifest.self_tests) == 3


@pytest.mark.parametrize("name", NOW)
def test_what_a_newer_mosdeploy_made_is_not_called_damaged(name: str, tmp_path: Path) -> None:
    record = NOW[name]
    path = tmp_path / name
    write_record(path, record)
    assert read_record(type(record), path, "mosdeploy VERB") == record
    data = json.loads(path.read_text())
    for changes, message in (
        ({"new_field": 1}, r"made by another version of mosdeploy .unknown key 'new_field'"),
        ({"version": data["version"] + 1}, r"made by a newer mosdeploy \(version \d, needed is"),
    ):
        path.write_text(json.dumps({**data, **changes}))
        with pytest.raises(StaleInputError, match=message) as caught:
            read_record(type(record), path, "mosdeploy VERB")
        assert "run `mosdeploy VERB` again" in str(caught.value)
        assert "delete" not in str(caught.value)


@pytest.mark.parametrize("number", [0, 1])
def test_a_line_of_a_newer_mosdeploy_is_not_to_be_deleted(number: int, tmp_path: Path) -> None:
    lines = (GOLDEN / "latency.jsonl").read_text().splitlines()
    lines[number] = json.dumps({**json.loads(lines[number]), "new_field": 1})
    path = tmp_path / "latency.jsonl"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(StaleInputError, match=r"line .*another version of mosdeploy") as caught:
        LatencyDataset.load(path)
    assert "delete" not in str(caught.value)
    session = json.loads((GOLDEN / "sessions.jsonl").read_text())
    path.with_name("sessions.jsonl").write_text(json.dumps({**session, "new_field": 1}) + "\n")
    with pytest.raises(StaleInputError, match=r"line 1.*another version of mosdeploy") as caught:
        read_sessions(path)
    assert "delete" not in str(caught.value)
