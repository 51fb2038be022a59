"""What torchrun, or what it left behind, says of this process."""

import pytest

from mosdeploy.config.sections import TrainingConfig
from mosdeploy.errors import ConfigError
from mosdeploy.training.distributed import init_distributed
from mosdeploy.training.launch import Launch, is_first

NAMES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
WHOLE = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_process_of_several_knows_its_place(environment: pytest.MonkeyPatch) -> None:
    assert Launch.read() == Launch(0, 1, 0)
    for name, value in WHOLE.items():
        environment.setenv(name, value)
    assert Launch.read() == Launch(3, 4, 1)
    assert not is_first()
    environment.setenv("RANK", "0")
    assert is_first()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RANK": None}, "WORLD_SIZE = 4, but no RANK: .* torchrun; else `unset WORLD_SIZE RANK"),
        ({"MASTER_ADDR": None, "MASTER_PORT": None}, "but no MASTER_ADDR and no MASTER_PORT"),
        ({"RANK": "4"}, "but RANK = 4"),
        ({"RANK": "first"}, "RANK = 'first' in the environment is no number"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE = '' in the environment is no number; `unset WORLD_SIZE`"),
    ],
)
def test_what_an_earlier_job_left_is_refused_at_once(
    environment: pytest.MonkeyPatch, changes: dict[str, str | None], message: str
) -> None:
    for name, value in {**WHOLE, **changes}.items():
        if value is not None:
            environment.setenv(name, value)
    with pytest.raises(ConfigError, match=message), init_distributed(TrainingConfig()):
        pass
    assert is_first()  # and who does not train is not silenced
