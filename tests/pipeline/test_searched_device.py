"""What a search asks of the device, and when."""

import math
import shutil
from functools import partial
from pathlib import Path

import pytest
from walking import KeptProgress, opened

from mosdeploy.errors import ConnectionLostError, InfeasibleError
from mosdeploy.pipeline.search import FinalistTiming
from mosdeploy.records import Candidate
from mosdeploy.run_folder import devices
from mosdeploy.run_folder.run import open_run
from mosdeploy.spaces.genes import ArchConfig


def test_a_device_out_of_reach_is_told_before_losses_are_computed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut() -> None:
        raise ConnectionLostError("no route to the board")

    shutil.rmtree(folder / "search")
    monkeypatch.setattr(devices, "connector", lambda *_: cut)
    progress = KeptProgress()
    with pytest.raises(ConnectionLostError, match="no route"):
        opened(folder, progress).search("10s")
    assert not any(stage == "search" for stage, _ in progress.updates)


@pytest.mark.slow
@pytest.mark.parametrize("taken", [0.5, 1.0])
def test_what_may_keep_a_limit_as_measured_is_timed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, taken: float
) -> None:
    """On a device where each subnet takes so much of what is predicted of it."""
    with pytest.raises(InfeasibleError) as caught:
        opened(folder).search("0.000001ms")
    assert caught.value.fastest_latency_ms is not None
    predictor = opened(folder).predictor("local")
    space = open_run(folder).config.space
    smallest = predictor.to_rows(space.genes([space.smallest]))
    within = math.exp(-0.5 * predictor.half_width(smallest).item())
    limit_ms = caught.value.fastest_latency_ms * within
    raw_ms: dict[ArchConfig, float] = {}

    def timed(self: FinalistTiming, chosen: list[Candidate], path: Path) -> list[Candidate]:
        times = taken * predictor.predict(space.genes([x.arch for x in chosen]))
        raw_ms.update(zip((x.arch for x in chosen), times.tolist(), strict=True))
        return [x.model_copy(update={"measured_ms": raw_ms[x.arch]}) for x in chosen]

    monkeypatch.setattr(FinalistTiming, "timed", timed)
    progress = KeptProgress()
    search = partial(opened(folder, progress).search, f"{limit_ms}ms")
    if taken == 1.0:
        with pytest.raises(InfeasibleError, match=r"none of the .* finalists keeps .* as measured"):
            search()
        assert raw_ms
    else:
        result = search()
        assert result.winner.measured_ms is not None
        assert result.winner.measured_ms <= limit_ms
        # what they took corrects the predictions
        assert result.level == pytest.approx(0.5)
        assert result.winner.predicted_ms == pytest.approx(result.winner.measured_ms)
    assert any("as measured: the fastest are timed" in x for x in progress.messages)
    with pytest.raises(InfeasibleError, match="least predicted"):
        opened(folder).search(f"{limit_ms}ms", verify=False)
