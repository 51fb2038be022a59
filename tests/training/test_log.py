import json
from pathlib import Path

import pytest

from mosdeploy.errors import StaleInputError
from mosdeploy.storage import append_line
from mosdeploy.training.log import LogLine, cut_log


def write_log(path: Path, num_steps: int) -> None:
    for step in range(1, num_steps + 1):
        append_line(
            path,
            LogLine(
                step=step,
                loss=3.0,
                learning_rate=1e-3,
                gradient_norm=None,
                targets_per_s=100.0,
                seconds=float(step),
            ),
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
    path.write_text('{"update": 1}\n')  # of 0.1.0
    cut_log(path, 0)
    assert not path.exists()


def test_a_missing_log_stays_missing(tmp_path: Path) -> None:
    cut_log(tmp_path / "log.jsonl", 3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["no json\n", '{"loss": 1.0}\n', "[1]\n"])
def test_a_corrupt_log_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(text)
    with pytest.raises(StaleInputError, match=r"log\.jsonl is corrupt .*only the plot"):
        cut_log(path, 3)
