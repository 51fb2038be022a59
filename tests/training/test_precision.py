"""The precision of a training on a CPU: the faster one, kept by whoever resumes."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from training_fixtures import CONFIG, Run, interrupt_at, log_of, without_times

from mosdeploy.supernet.supernet import Supernet
from mosdeploy.training import trainer
from mosdeploy.training.precision import WAYS, Amp, PrecisionTrial, Way, fastest

AUTO = CONFIG.model_copy(update={"amp": "auto"})


def chosen(amp: Amp) -> PrecisionTrial:
    """As a training that is told a precision computes in it."""
    return PrecisionTrial(
        amp=amp, is_unfused=amp == "bf16", full_ms=20.0, bf16_ms=10.0, unfused_ms=9.0
    )


@pytest.mark.parametrize(
    ("seconds", "way"),
    [
        ((0.3, 0.2, 0.25), ("bf16", False)),
        ((0.3, 0.25, 0.2), ("bf16", True)),
        ((0.2, 0.3, 0.15), ("bf16", True)),
        ((0.3, 0.29, 0.29), ("none", False)),
        ((0.2, 0.3, 0.4), ("none", False)),
    ],
)
def test_the_fastest_way_if_by_enough(
    seconds: tuple[float, ...], way: tuple[Amp, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    asked: list[Way] = []

    def gradient(tried: Way, taken_s: float) -> Callable[[], None]:
        def run() -> None:
            # the first call of each compiles, and does not count
            clock[0] += taken_s if tried in asked else 9 * taken_s
            asked.append(tried)

        return run

    trial = fastest({tried: gradient(tried, s) for tried, s in zip(WAYS, seconds, strict=True)})
    assert trial.way == way
    times_ms = (trial.full_ms, trial.bf16_ms, trial.unfused_ms)
    assert times_ms == pytest.approx([1000 * s for s in seconds])
    # the first round alone is longer than a trial may take: one more, and no third
    assert asked == [*WAYS, *WAYS]


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


def test_the_choice_is_told_with_all_times() -> None:
    assert str(chosen("bf16")) == (
        "computing in bf16 with unfused attention: the gradient of a step took 20 ms in full "
        "precision, 10 ms in bf16, 9 ms in bf16 with unfused attention"
    )
    before = PrecisionTrial(amp="bf16", full_ms=20.0, bf16_ms=10.0)
    assert str(before) == (
        "computing in bf16: the gradient of a step took 20 ms in full precision, 10 ms in bf16"
    )
