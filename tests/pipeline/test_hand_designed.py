"""Nets designed by hand: timed as finalists are, and the slowest within the limit is trained."""

import json
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from walking import lines_of, set_age

from mosdeploy.errors import DeviceError
from mosdeploy.latency.dataset import LatencyDataset
from mosdeploy.pipeline import demo
from mosdeploy.pipeline.init import init
from mosdeploy.pipeline.measuring import collect
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.run import open_run
from mosdeploy.spaces.genes import largest_of_depths


def test_networks_designed_by_hand_are_timed_by_the_same_rule(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context(open_run(folder))
    path = context.files.verified_path("local", "sentence-fp32-by-hand")
    shutil.copy(context.files.verified_path("local", "sentence"), path)
    set_age(path, {0: timedelta(minutes=120), 1: timedelta(minutes=30)})
    old, other = LatencyDataset.load(path).records[:2]
    asked: list[str] = []
    monkeypatch.setattr(collect, "_measure", lambda *found: asked.extend(found[2]))
    demo._measured(context, "local", [old.arch, other.arch])
    assert asked == [f"{old.arch.key}-1"]


def test_a_network_designed_by_hand_that_cannot_be_timed_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context(open_run(folder))
    path = context.files.verified_path("local", "sentence-fp32-by-hand")
    context_line, line, *_ = lines_of(context.files.verified_path("local", "sentence"))
    first = json.loads(line)
    first["measurement"] |= {"total": None, "parts": {}, "error": "out of memory"}
    path.write_text(f"{context_line}\n{json.dumps(first)}\n")
    (record,) = LatencyDataset.load(path).records
    monkeypatch.setattr(collect, "_measure", lambda *_: None)
    with pytest.raises(DeviceError, match=r"local could not time .*: out of memory"):
        demo._measured(context, "local", [record.arch])


def test_the_slowest_net_within_the_limit_is_trained_as_long_as_the_winner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """int8 takes 1 ms a layer, fp32 2 ms."""
    init(tmp_path, "minilm-l6")
    context = Context(open_run(tmp_path))
    assert context.config.workload.precision == "int8"
    trained: list[Any] = []

    def measured(of: Context, device: str, archs: Sequence[Any]) -> dict[Any, float]:
        a_layer = 2.0 if of.config.workload.precision == "fp32" else 1.0
        return {arch: a_layer * len(arch.layers) for arch in archs}

    monkeypatch.setattr(demo, "_measured", measured)
    monkeypatch.setattr(demo, "finetune", lambda _, options, **__: trained.append(options.steps))
    space = context.config.space
    most = len(space.largest.layers)
    for winner in (space.smallest, largest_of_depths(space, [most - 1])):
        found = demo.design_by_hand(context, "local", most - 1.0, winner)
        assert found.arch == largest_of_depths(space, [most - 1])
        assert (found.measured_ms, found.teacher_ms, found.teacher_fp32_ms) == (
            most - 1, most, 2 * most,
        )  # fmt: skip
    assert trained == [2 * context.config.finetune.steps, None]
