import pytest
from example_spaces import SMALL_ARCH

from mosdeploy.config.device import DeviceProfile
from mosdeploy.records import (
    BundleManifest,
    Deployment,
    DeviceState,
    Measurement,
    ParityReport,
    PrecisionCandidate,
    PrecisionChoice,
    SelfTest,
    Timing,
)
from mosdeploy.spaces.translation import TranslationWorkload
from mosdeploy.storage import read_record, write_record

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
