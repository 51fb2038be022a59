"""`mosdeploy latency import`."""

import json
from pathlib import Path

import pytest
from command_line import mosdeploy, run_folder

from mosdeploy.families.translation.hat import MEAN_COLUMNS, TIME_COLUMNS

WORDS = [
    "latency",
    "import",
    "board.csv",
    "--device",
    "rpi",
    "--workload",
    "sentence",
    "--licence",
    "MIT",
]


def write_board(path: Path) -> None:
    """Eighty rows of two depths; twenty of them took twice the time."""
    lines = [",".join((*MEAN_COLUMNS, *TIME_COLUMNS))]
    for i in range(80):
        depth = 1 + i % 2
        slow = 2 if 20 <= i < 40 else 1
        lines.append(f"16,1,16,2,16,{depth},16,2,2,1,{10 * slow},{5 * depth * slow}")
    path.write_text("\n".join(lines))


@pytest.mark.slow
def test_an_import_tells_what_it_left_out(tmp_path: Path) -> None:
    write_board(tmp_path / "board.csv")
    told = mosdeploy(*WORDS, cwd=run_folder(tmp_path))
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(
        "left out rows 20-39: +100% against the rest\nrpi-sentence (PyTorch eager"
    )
    # 15 ms of one layer and 20 ms of two as predicted; nothing is trained yet
    assert "next: mosdeploy train --max-latency 1" in told.stderr
    assert "ms --device rpi\n" in told.stderr


@pytest.mark.slow
def test_json_is_the_card(tmp_path: Path) -> None:
    write_board(tmp_path / "board.csv")
    card = json.loads(mosdeploy(*WORDS, "--json", cwd=run_folder(tmp_path)).stdout)
    assert (card["licence"], card["num_samples"], card["source"]) == ("MIT", 60, "board.csv")
