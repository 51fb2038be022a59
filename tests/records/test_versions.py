"""Records of other versions are refused by name, with what to do."""

import json
from pathlib import Path

import pytest
import synthetic
from latency_fixtures import measured_dataset

from mosdeploy.errors import BundleError, StaleInputError
from mosdeploy.export.bundle import read_manifest
from mosdeploy.latency.dataset import LatencyDataset, read_sessions
from mosdeploy.storage import read_record, write_record

NOW = {
    "manifest.json": synthetic.manifest(synthetic.SPACE.largest),
    "deployment.json": synthetic.deployment(10.0),
    "result.json": synthetic.search_result(),
    "scores.json": synthetic.scores(synthetic.SPACE.largest),
    "supernet.json": synthetic.supernet(),
}


@pytest.mark.parametrize("name", NOW)
def test_an_older_version_is_refused_by_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    data = NOW[name].model_dump(mode="json") | {"version": 0}
    path.write_text(json.dumps(data))
    with pytest.raises(StaleInputError, match=r"older mosdeploy .*run `mosdeploy VERB` again"):
        read_record(type(NOW[name]), path, "mosdeploy VERB")


def test_a_bundle_of_an_older_version_is_refused_by_name(tmp_path: Path) -> None:
    data = NOW["manifest.json"].model_dump(mode="json") | {"version": 1}
    (tmp_path / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(BundleError, match=r"an older mosdeploy.*run `mosdeploy export` again"):
        read_manifest(tmp_path)


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
    path = tmp_path / "latency.jsonl"
    measured_dataset(path, count=1)
    lines = path.read_text().splitlines()
    lines[number] = json.dumps({**json.loads(lines[number]), "new_field": 1})
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(StaleInputError, match=r"line .*another version of mosdeploy") as caught:
        LatencyDataset.load(path)
    assert "delete" not in str(caught.value)
    sessions = path.with_name("sessions.jsonl")
    session = json.loads(sessions.read_text())
    sessions.write_text(json.dumps({**session, "new_field": 1}) + "\n")
    with pytest.raises(StaleInputError, match=r"line 1.*another version of mosdeploy") as caught:
        read_sessions(path)
    assert "delete" not in str(caught.value)
