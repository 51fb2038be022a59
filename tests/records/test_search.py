import pytest
from example_spaces import SMALL_ARCH

from mosdeploy.errors import ConfigError
from mosdeploy.record import parse
from mosdeploy.records import Candidate, Limits, SearchResult
from mosdeploy.spaces.translation import TranslationWorkload
from mosdeploy.storage import read_record, write_record

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
