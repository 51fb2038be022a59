"""Records, and how those of other versions are refused: by name, with what to do."""

import json
from pathlib import Path
from typing import Any

import pytest
import synthetic
from latency_fixtures import measured_dataset

from mosdeploy.config.device import DeviceProfile
from mosdeploy.errors import BundleError, ConfigError, StaleInputError
from mosdeploy.export.bundle import read_manifest
from mosdeploy.latency.dataset import LatencyDataset, read_sessions
from mosdeploy.record import parse
from mosdeploy.records import (
    BundleManifest,
    Deployment,
    Limits,
    PrecisionCandidate,
    PrecisionChoice,
    Scores,
    ScoreTable,
)
from mosdeploy.spaces.translation import TranslationWorkload
from mosdeploy.storage import read_record, write_record

CHOICE = PrecisionChoice(
    device="rpi",
    workload=TranslationWorkload(),
    inputs_sha256="a",
    metric="accuracy",
    max_score_drop=0.3,
    num_examples=500,
    torch_score=30.0,
    precision="int8",
    candidates=(PrecisionCandidate(precision="int8", latency_ms=2.0, score=29.9, verdict="taken"),),
)
MANIFEST = synthetic.manifest(synthetic.SPACE.largest)
DEPLOYMENT = synthetic.deployment(10.0)
SCORES = synthetic.scores(synthetic.SPACE.largest)
RESULT = synthetic.search_result(verified=False)
CANDIDATE = RESULT.winner
RECORDS = (MANIFEST, DEPLOYMENT, RESULT, SCORES, synthetic.supernet(), CHOICE)


@pytest.mark.parametrize("record", RECORDS, ids=lambda x: type(x).__name__)
def test_there_and_back(tmp_path: Path, record: Any) -> None:
    path = tmp_path / "record.json"
    write_record(path, record)
    assert read_record(type(record), path, "mosdeploy export") == record


def test_a_bundle_of_an_older_version_is_refused_by_name(tmp_path: Path) -> None:
    data = MANIFEST.model_dump(mode="json") | {"version": 1}
    (tmp_path / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(BundleError, match=r"an older mosdeploy.*run `mosdeploy export` again"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("number", [0, 1])
def test_a_line_of_a_newer_mosdeploy_is_not_to_be_deleted(number: int, tmp_path: Path) -> None:
    path = tmp_path / "latency.jsonl"
    measured_dataset(path, count=1)
    lines = path.read_text().splitlines()
    lines[number] = json.dumps({**json.loads(lines[number]), "new_field": 1})
    path.write_text("\n".join(lines) + "\n")
    sessions = path.with_name("sessions.jsonl")
    sessions.write_text(json.dumps({**json.loads(sessions.read_text()), "new_field": 1}) + "\n")
    for read in (LatencyDataset.load, read_sessions):
        with pytest.raises(StaleInputError, match=r"line .*another version of mosdeploy") as caught:
            read(path)
        assert "delete" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["max_latency_ms", "max_parameters", "max_size_bytes", "max_memory_bytes"]
)
def test_limits_are_positive_or_none(name):
    assert getattr(parse(Limits, {name: 1}, "x"), name) == 1
    with pytest.raises(ConfigError, match=f"'{name}': Input should be greater than 0"):
        parse(Limits, {name: 0}, "x")


def test_a_loss_is_a_number():
    with pytest.raises(ValueError, match="finite"):
        CANDIDATE.model_validate({**dict(CANDIDATE), "loss": float("nan")})


def test_a_finalist_without_a_time_kept_nothing():
    timed = CANDIDATE.model_copy(update={"measured_ms": 1.9})
    slow = CANDIDATE.model_copy(update={"measured_ms": 2.1})
    limits = Limits(max_latency_ms=2.0)
    finalists = (timed, slow, CANDIDATE)
    update = {"winner": timed, "finalists": finalists, "limits": limits}
    found = RESULT.model_copy(update=update)
    assert found.kept == (timed,)
    assert RESULT.kept == (CANDIDATE,)


def test_the_first_metric_stays_the_first():
    """It is the one that counts, so a file keeps the order."""
    back = parse(ScoreTable, json.loads(SCORES.model_dump_json()), "scores.json")
    assert list(back.subnets["winner"].metrics) == ["BLEU", "chrF"]


def test_weights_are_the_inherited_ones_unless_said():
    scores = SCORES.subnets["winner"]
    assert scores.weights == "inherited"
    with pytest.raises(ValueError, match=r"'inherited', 'finetuned', .* or 'scratch'"):
        Scores.model_validate({**dict(scores), "weights": "borrowed"})


def test_settings_keep_whole_numbers_whole(tmp_path):
    write_record(tmp_path / "manifest.json", MANIFEST)
    settings = read_record(BundleManifest, tmp_path / "manifest.json", "x").settings
    assert [type(value) for value in settings.values()] == [int, float, str, str, int, int]


def test_a_limit_on_memory_is_judged_where_it_can_be():
    def taken(num_bytes: int | None, **changes: object) -> Deployment:
        measurement = DEPLOYMENT.measurement.model_copy(update={"memory_bytes": num_bytes})
        return DEPLOYMENT.model_copy(update={"measurement": measurement, **changes})

    assert [taken(x, max_memory_bytes=10).memory_kept for x in (9, 10, 11)] == [True, True, False]
    assert taken(9).memory_kept is None
    assert taken(None, max_memory_bytes=10).memory_kept is None
    emulated = DeviceProfile(name="rpi", emulated=True)
    assert taken(9, max_memory_bytes=10, device=emulated).memory_kept is None
