"""The precision of a training on a CPU: the faster one, kept by whoever resumes."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from training_fixtures import CONFIG, Run, interrupt_at, log_of, without_times

from mosdeploy.supernet.supernet import Supernet
from mosdeploy.training import trainer
from mosdeploy.training.precision import Amp, PrecisionTrial, fastest

AUTO = CONFIG.model_copy(update={"amp": "auto"})


def chosen(amp: Amp) -> PrecisionTrial:
    return PrecisionTrial(amp=amp, full_ms=20.0, bf16_ms=10.0)


@pytest.mark.parametrize(
    ("full_s", "bf16_s", "amp"), [(0.3, 0.2, "bf16"), (0.3, 0.29, "none"), (0.2, 0.3, "none")]
)
def test_the_faster_precision_if_by_enough(
    full_s: float, bf16_s: float, amp: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    asked: list[str] = []

    def gradient(name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            # the first call of each compiles, and does not count
            clock[0] += seconds if name in asked else 9 * seconds
            asked.append(name)

        return run

    trial = fastest({"none": gradient("none", full_s), "bf16": gradient("bf16", bf16_s)})
    assert trial.amp == amp
    assert (trial.full_ms, trial.bf16_ms) == pytest.approx((full_s * 1000, bf16_s * 1000))
    # the first round alone is longer than a trial may take: one more, and no third
    assert asked == ["none", "bf16", "none", "bf16"]


@pytest.mark.slow
@pytest.mark.parametrize("amp", ["none", "bf16"])
def test_auto_trains_as_what_it_chose(
    amp: Amp,
    net: Callable[..., Supernet],
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A trial leaves no trace in the weights: the log is that of a training told so."""
    real = trainer.try_precisions

    def rigged(*arguments: object) -> PrecisionTrial:
        assert real(*arguments).full_ms > 0  # type: ignore[arg-type]
        return chosen(amp)

    monkeypatch.setattr(trainer, "try_precisions", rigged)
    told = CONFIG.model_copy(update={"amp": amp})
    run(net(), told, folder=tmp_path / "told")
    run(net(), AUTO, folder=tmp_path / "auto")
    assert without_times(log_of(tmp_path / "auto")) == without_times(log_of(tmp_path / "told"))


@pytest.mark.slow
def test_a_resumed_run_keeps_its_precision(
    net: Callable[..., Supernet], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "try_precisions", lambda *_: chosen("bf16"))
    run(net(), AUTO, folder=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(net(), AUTO, folder=tmp_path / "killed", progress=interrupt_at(5))
    # the machine that goes on would choose otherwise
    monkeypatch.setattr(trainer, "try_precisions", lambda *_: chosen("none"))
    run(net(), AUTO, folder=tmp_path / "killed")
    assert without_times(log_of(tmp_path / "killed")) == without_times(log_of(tmp_path / "whole"))


def test_the_choice_is_told_with_both_times() -> None:
    assert str(chosen("bf16")) == (
        "computing in bf16: the gradient of a step took 20 ms in full precision, 10 ms in bf16"
    )
