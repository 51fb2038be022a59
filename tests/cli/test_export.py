"""`mosdeploy export`: its options, parity, and what was weighed for it."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from answers import manifest, timed

from mosdeploy.pipeline.exporting.export_job import ExportResult
from mosdeploy.records import PrecisionCandidate, PrecisionChoice, WeightOrigin
from mosdeploy.run_folder.options import ExportOptions
from mosdeploy.run_folder.summaries import RuntimeChoice, RuntimeTiming
from mosdeploy.spaces.translation import TranslationWorkload

EXPORT = "export.export"
RESULT = ExportResult(Path("bundles/en-de-small"), manifest(), 3 * 2**20)
PRECISIONS = PrecisionChoice(
    device="rpi",
    workload=TranslationWorkload(),
    inputs_sha256="inputs",
    metric="BLEU",
    max_score_drop=0.3,
    num_examples=500,
    torch_score=30.123,
    precision="int8",
    candidates=(
        PrecisionCandidate(
            precision="int8", latency_ms=99.5, size_bytes=2**21, score=30.0, verdict="taken"
        ),
        PrecisionCandidate(precision="int4", verdict="cannot run"),
    ),
)


def test_every_origin_of_weights_can_be_asked_for(ask: Callable[..., Any]) -> None:
    for origin in get_args(WeightOrigin):
        done = ask(EXPORT, RESULT, "export", "--weights", origin)
        assert done.arguments[1] == ExportOptions(weights=origin)


def test_a_bundle_is_told_with_its_parity(ask: Callable[..., Any]) -> None:
    done = ask(EXPORT, RESULT, "export")
    assert done.stdout.splitlines() == [
        "bundle bundles/en-de-small: 3.0 MiB, int8, inherited weights",
        "parity: 63 of 64 answers identical, BLEU 30.1 in torch, 30.0 in the bundle",
    ]
    assert done.stderr == "next: mosdeploy train\n"
    assert json.loads(ask(EXPORT, RESULT, "export", "--json").stdout)["name"] == "en-de-small"


def test_precisions_that_were_weighed_are_a_table(ask: Callable[..., Any]) -> None:
    result = ExportResult(RESULT.path, RESULT.manifest, RESULT.size_bytes, PRECISIONS)
    lines = ask(EXPORT, result, "export").stdout.splitlines()
    assert lines[0] == "on rpi, BLEU on 500 validation examples (30.12 in torch):"
    assert lines[1].split() == ["precision", "ms", "size", "BLEU", "verdict"]
    assert lines[3].split() == ["int8", "99.5", "2.0", "MiB", "30.00", "taken"]
    assert lines[4].split() == ["int4", "-", "-", "-", "cannot", "run"]
    tails = PRECISIONS.model_copy(update={"statistic": "p99"})
    result = dataclasses.replace(result, precision_choice=tails)
    assert "  ms (p99)  " in ask(EXPORT, result, "export").stdout.splitlines()[1]


def test_runtimes_that_were_timed_have_a_line_each(ask: Callable[..., Any]) -> None:
    timings = (
        RuntimeTiming(runtime="onnxruntime", measurement=timed(99.5, 100.5), error=None),
        RuntimeTiming(runtime="tvm", measurement=None, error="no compiler"),
    )
    choice = RuntimeChoice(
        device="rpi", kept="onnxruntime", bundle="b", timings=timings, manifest=manifest()
    )
    result = ExportResult(RESULT.path, RESULT.manifest, RESULT.size_bytes, runtime_choice=choice)
    told = ask(EXPORT, result, "export", "--runtime", "auto").stdout
    assert told.endswith(
        "onnxruntime on rpi: 99.5 ms median, 100 ms p90\ntvm on rpi: not timed: no compiler\n"
    )
    printed = json.loads(ask(EXPORT, result, "export", "--runtime", "auto", "--json").stdout)
    assert printed["kept"] == "onnxruntime"
