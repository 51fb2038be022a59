import pytest
from example_spaces import SMALL_ARCH

from mosdeploy.config.sections import SearchConfig
from mosdeploy.errors import ConfigError
from mosdeploy.record import parse
from mosdeploy.records import Candidate, Limits, QualityCard, SearchResult
from mosdeploy.spaces.translation import TranslationWorkload
from mosdeploy.storage import read_record, write_record

CANDIDATE = Candidate(
    arch=SMALL_ARCH, loss=2.5, predicted_ms=1.5, num_parameters=100, size_bytes=400
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
    num_early_stopped=4,
    quality=QualityCard(num_samples=16, kendall_tau=0.9, error=0.01),
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


def test_limits_are_read_as_users_write_them():
    read = Limits.read("150ms", "4M", None, "12MiB", 2**30)
    assert read == Limits(
        max_latency_ms=150.0,
        max_parameters=4_000_000,
        max_size_bytes=12 * 2**20,
        max_memory_bytes=2**30,
    )
    assert Limits.read(max_parameters=9, count="encoder") == Limits(max_body_parameters=9)
    with pytest.raises(ConfigError, match="give max_parameters"):
        Limits.read(count="encoder")


def test_what_is_asked_replaces_what_the_run_file_counts():
    configured = Limits.configured(SearchConfig(max_parameters="4M", count="encoder"))
    assert Limits().filled_up(configured) == Limits(max_body_parameters=4_000_000)
    assert Limits(max_parameters=9).filled_up(configured) == Limits(max_parameters=9)
    configured = Limits.configured(SearchConfig(count="encoder", max_latency="20ms"))
    assert Limits().filled_up(configured) == Limits(max_latency_ms=20.0)


@pytest.mark.parametrize(
    "limits",
    [
        Limits(max_latency_ms=20.0),
        Limits(max_latency_ms=0.00001234, max_size_bytes=2**20),
        Limits(max_latency_ms=1e17, max_parameters=3_500_001),
        Limits(max_parameters=4_000_000, max_memory_bytes=200 * 2**20),
        Limits(max_body_parameters=20_000),
        Limits(max_size_bytes=1000, max_memory_bytes=2**30),
    ],
)
@pytest.mark.parametrize("usual_count", ["total", "encoder"])
def test_limits_are_the_same_once_typed(limits, usual_count):
    words = " ".join(limits.options(usual_count)).split()
    given = {
        name.removeprefix("--").replace("-", "_"): text
        for name, text in zip(words[::2], words[1::2], strict=True)
    }
    if "max_parameters" in given:
        given.setdefault("count", usual_count)
    assert Limits.read(**given) == limits
