"""Records, and how those of other versions are refused: by name, with what to do."""

import json
from pathlib import Path
from typing import Any

import pytest
import synthetic
from example_spaces import SMALL_ARCH
from latency_fixtures import measured_dataset

from mosdeploy.config.device import DeviceProfile
from mosdeploy.errors import BundleError, ConfigError, StaleInputError
from mosdeploy.export.bundle import read_manifest
from mosdeploy.latency.dataset import LatencyDataset, read_sessions
from mosdeploy.record import parse
from mosdeploy.records import (
    BundleManifest,
    Candidate,
    DataCard,
    Deployment,
    DeviceState,
    LatencyRecord,
    Limits,
    Measurement,
    ParityReport,
    PrecisionCandidate,
    PrecisionChoice,
    RowBlock,
    Scores,
    ScoreTable,
    SearchResult,
    SelfTest,
    SubnetCard,
    SupernetCard,
    Timing,
)
from mosdeploy.spaces.translation import TranslationWorkload
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


def there_and_back(record: Any) -> Any:
    return parse(type(record), json.loads(record.model_dump_json()), "a line")


def test_lines_there_and_back() -> None:
    timing = Timing(median_ms=2.0, p90_ms=2.5, p99_ms=2.5, minimum_ms=1.5, repeats=10)
    record = LatencyRecord(
        arch=SMALL_ARCH,
        measurement=Measurement(total=timing, parts={"layers": timing}, rounds=3),
        runtime="onnxruntime",
        measured_at="2026-01-01T00:00:00+00:00",
        session="0123",
    )
    assert there_and_back(record) == record
    state = DeviceState(cpu_features=("neon",), frequencies_mhz=(600.0,), packages={"numpy": "2"})
    assert there_and_back(state) == state


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (Measurement, {"parts": {}, "speed": 1}, "unknown key 'speed'"),
        (Measurement, {"parts": {"x": {"median_ms": 1.0}}}, "missing key 'parts.x.p90_ms'"),
        (DeviceState, {"cores": "two"}, "'cores': Input should be a valid integer"),
        (RowBlock, {"start": 0, "stop": 1}, "missing key 'time_ratio'"),
    ],
)
def test_what_does_not_fit_is_named(model: Any, data: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(model, data, "a line")


CANDIDATE = Candidate(
    arch=SMALL_ARCH,
    loss=2.5,
    predicted_ms=1.5,
    num_parameters=100,
    num_body_parameters=100,
    size_bytes=400,
    memory_bytes=400,
)
RESULT = SearchResult(
    device="rpi",
    workload=TranslationWorkload(),
    limits=Limits(max_latency_ms=2.0),
    space_sha256="a",
    supernet_sha256="b",
    predictor_sha256=None,
    winner=CANDIDATE,
    verified=False,
    finalists=(),
    front=(CANDIDATE,),
    num_evaluated=10,
    seed=1,
)


def test_a_result_there_and_back(tmp_path):
    path = tmp_path / "result.json"
    write_record(path, RESULT)
    assert read_record(SearchResult, path, "mosdeploy search") == RESULT


@pytest.mark.parametrize(
    "name", ["max_latency_ms", "max_parameters", "max_size_bytes", "max_memory_bytes"]
)
def test_limits_are_positive_or_none(name):
    assert getattr(parse(Limits, {name: 1}, "x"), name) == 1
    assert getattr(Limits(), name) is None
    with pytest.raises(ConfigError, match=f"'{name}': Input should be greater than 0"):
        parse(Limits, {name: 0}, "x")


def test_a_loss_is_a_number():
    with pytest.raises(ValueError, match="finite"):
        CANDIDATE.model_validate({**dict(CANDIDATE), "loss": float("nan")})


def test_a_finalist_without_a_time_kept_nothing():
    timed = CANDIDATE.model_copy(update={"measured_ms": 1.9})
    slow = CANDIDATE.model_copy(update={"measured_ms": 2.1})
    found = RESULT.model_copy(update={"winner": timed, "finalists": (timed, slow, CANDIDATE)})
    assert found.kept == (timed,)
    assert RESULT.kept == (CANDIDATE,)


SCORES = Scores(
    arch=SMALL_ARCH,
    num_parameters=100,
    metrics={"accuracy": 0.9, "f1": 0.8},
    loss=1.5,
    num_examples=10,
    setup="greedy",
)
CARD = SupernetCard(
    inputs={"data": "sha256:a", "training.steps": 600},
    space_sha256="b",
    data_sha256="c",
    tokenizer_sha256="d",
    supernet_sha256="e",
    steps=600,
    vocab_size=1000,
    routing="neuron",
    num_experts=2,
    largest_loss=2.0,
    smallest_loss=2.5,
    train_seconds=10.0,
)


def test_a_card_there_and_back(tmp_path):
    path = tmp_path / "supernet.json"
    write_record(path, CARD)
    assert read_record(SupernetCard, path, "mosdeploy train") == CARD


def test_the_first_metric_stays_the_first():
    """It is the one that counts, so a file keeps the order."""
    table = ScoreTable(supernet_sha256="a", data_sha256="b", subnets={"winner": SCORES})
    back = parse(ScoreTable, json.loads(table.model_dump_json()), "scores.json")
    assert back == table
    assert list(back.subnets["winner"].metrics) == ["accuracy", "f1"]


def test_weights_are_the_inherited_ones_unless_said():
    assert SCORES.weights == "inherited"
    with pytest.raises(ValueError, match=r"'inherited', 'finetuned', .* or 'scratch'"):
        Scores.model_validate({**dict(SCORES), "weights": "borrowed"})


@pytest.mark.parametrize("model", [DataCard, SupernetCard, SubnetCard, ScoreTable])
def test_cards_of_0_1_0_say_what_to_run_again(tmp_path, model):
    path = tmp_path / "card.json"
    path.write_text('{"version": 1, "made_from": "a", "updates": 600}')
    with pytest.raises(
        StaleInputError, match=r"an older mosdeploy \(version 1, .*run `mosdeploy train`"
    ):
        read_record(model, path, "mosdeploy train")


MANIFEST = BundleManifest(
    name="winner",
    precision="int8",
    settings={"beam": 4, "length_penalty": 0.6, "source_lang": "en"},
    vocab_size=1000,
    arch=SMALL_ARCH,
    num_parameters=100,
    workload=TranslationWorkload(),
    device=None,
    provenance={"supernet": "a"},
    parity=ParityReport(
        metric="accuracy", num_examples=64, identical=64, torch_score=30.0, bundle_score=30.0
    ),
    self_test=(SelfTest(input="a b", input_ids=(4, 5), answer=(6,), output="c"),),
    sha256={"model.onnx": "b"},
)
DEPLOYMENT = Deployment(
    device=DeviceProfile(name="rpi"),
    state=DeviceState(cpu_features=("neon",), packages={"numpy": "2.0"}),
    bundle="winner",
    bundle_sha256="a",
    remote_dir="~/.cache/mosdeploy/winner",
    self_test_passed=True,
    measurement=Measurement(
        total=Timing(median_ms=2.0, p90_ms=2.5, p99_ms=2.5, minimum_ms=1.5, repeats=10)
    ),
    limit_ms=3.0,
    deployed_at="2026-01-01T00:00:00+00:00",
)
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


@pytest.mark.parametrize("record", [MANIFEST, DEPLOYMENT, CHOICE], ids=lambda x: type(x).__name__)
def test_there_and_back(tmp_path, record):
    path = tmp_path / "record.json"
    write_record(path, record)
    assert read_record(type(record), path, "mosdeploy export") == record


def test_settings_keep_whole_numbers_whole(tmp_path):
    write_record(tmp_path / "manifest.json", MANIFEST)
    settings = read_record(BundleManifest, tmp_path / "manifest.json", "x").settings
    assert [type(value) for value in settings.values()] == [int, float, str]


def test_a_limit_on_memory_is_judged_where_it_can_be():
    def taken(num_bytes: int | None, **changes: object) -> Deployment:
        measurement = DEPLOYMENT.measurement.model_copy(update={"memory_bytes": num_bytes})
        return DEPLOYMENT.model_copy(update={"measurement": measurement, **changes})

    assert [taken(x, max_memory_bytes=10).memory_kept for x in (9, 10, 11)] == [True, True, False]
    assert taken(9).memory_kept is None
    assert taken(None, max_memory_bytes=10).memory_kept is None
    emulated = DeviceProfile(name="rpi", emulated=True)
    assert taken(9, max_memory_bytes=10, device=emulated).memory_kept is None
