import json
from pathlib import Path

import pytest

from mosdeploy.errors import ConfigError, StaleInputError
from mosdeploy.storage import append_line
from mosdeploy.training import log as module
from mosdeploy.training.log import EVENTS_NAME, LogLine, TrainingLog, check_log, cut_log


def write_log(path: Path, num_steps: int) -> None:
    for step in range(1, num_steps + 1):
        append_line(path, log_line(step))


def log_line(step: int, **losses: float) -> LogLine:
    return LogLine(
        step=step,
        loss=3.0,
        learning_rate=1e-3,
        gradient_norm=None,
        targets_per_s=100.0,
        seconds=float(step),
        **losses,
    )


def test_what_follows_a_step_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write_log(path, 5)
    with path.open("a") as file:
        file.write('{"step": 6')  # torn by a kill
    for last in (9, 3, 3):
        cut_log(path, last)
        steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
        assert steps == list(range(1, min(last, 5) + 1))
        assert path.read_text().endswith("\n")


def test_a_new_training_takes_no_older_log_in(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("no json\n")
    cut_log(path, 0)
    assert not path.exists()


@pytest.mark.parametrize("text", ["no json\n", '{"loss": 1.0}\n', "[1]\n"])
def test_a_corrupt_log_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(text)
    with pytest.raises(StaleInputError, match=r"log\.jsonl is corrupt .*only the plot"):
        cut_log(path, 3)


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    """Steps and values of a curve, as TensorBoard reads them."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder / EVENTS_NAME))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_events_are_those_of_the_lines_after_a_kill_too(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    path = tmp_path / "log.jsonl"
    (tmp_path / EVENTS_NAME).mkdir()
    (tmp_path / EVENTS_NAME / "events.out.tfevents.of-an-older-training").touch()
    first = TrainingLog(path, "tensorboard", last_step=0)
    assert not (tmp_path / EVENTS_NAME).exists()
    for step in (1, 2, 3):
        first.append(log_line(step, **({"largest_loss": 2.0} if step == 2 else {})))
    first.flush()
    # killed there, past its last checkpoint at step 2
    second = TrainingLog(path, "tensorboard", last_step=2)
    for step in (3, 4):
        second.append(log_line(step))
    second.flush()
    assert [step for step, _ in scalars(tmp_path, "loss")] == [1, 2, 3, 4]
    assert scalars(tmp_path, "largest_loss") == [(2, 2.0)]
    assert len(path.read_text().splitlines()) == 4


def test_without_tensorboard_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    check_log("jsonl")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    check_log("jsonl")
    with pytest.raises(ConfigError, match=r"pip install 'mosdeploy\[tensorboard\]'"):
        check_log("tensorboard")
