"""Where and in which precision a training computes."""

import time
from collections.abc import Callable

import pytest
import torch

from mosdeploy.config.sections import TrainingConfig
from mosdeploy.errors import ConfigError
from mosdeploy.training.device import COMPUTE_MODES, ComputeMode, DeviceContext, fastest


def config(compute: str, amp: str) -> TrainingConfig:
    return TrainingConfig(compute=compute, amp=amp)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("amp", "dtype"),
    [
        ("auto", torch.float32),
        ("none", torch.float32),
        ("bf16", torch.bfloat16),
        ("fp16", torch.float16),
    ],
)
def test_the_precision_on_a_processor(amp: str, dtype: torch.dtype) -> None:
    context = DeviceContext.of(config("cpu", amp))
    assert context == DeviceContext(torch.device("cpu"), dtype, is_unfused=amp == "bf16")
    a = torch.ones(2, 2)
    with context.autocast():
        assert (a @ a).dtype == dtype
    assert context.scaler().is_enabled() == (amp == "fp16")


@pytest.mark.parametrize(("has_bf16", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_takes_the_gpu_of_the_rank(
    monkeypatch: pytest.MonkeyPatch, has_bf16: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    context = DeviceContext.of(config("auto", "auto"), local_rank=3)
    assert context == DeviceContext(torch.device("cuda", 3), dtype)
    assert DeviceContext.of(config("cpu", "auto")).device == torch.device("cpu")


def test_a_missing_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"training\.compute = 'cuda', but torch finds no GPU"):
        DeviceContext.of(config("cuda", "auto"))


@pytest.mark.parametrize(
    ("seconds", "mode"),
    [
        ((0.3, 0.2, 0.25), ("bf16", False)),
        ((0.3, 0.25, 0.2), ("bf16", True)),
        ((0.2, 0.3, 0.15), ("bf16", True)),
        ((0.3, 0.29, 0.29), ("none", False)),
        ((0.2, 0.3, 0.4), ("none", False)),
    ],
)
def test_the_fastest_mode_if_by_enough(
    seconds: tuple[float, ...], mode: tuple[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    asked: list[ComputeMode] = []

    def gradient(tried: ComputeMode, taken_s: float) -> Callable[[], None]:
        def run() -> None:
            # the first call of each compiles, and does not count
            clock[0] += taken_s if tried in asked else 9 * taken_s
            asked.append(tried)

        return run

    trial = fastest(
        {tried: gradient(tried, s) for tried, s in zip(COMPUTE_MODES, seconds, strict=True)}
    )
    assert trial.mode == mode
    times_ms = (trial.full_ms, trial.bf16_ms, trial.unfused_ms)
    assert times_ms == pytest.approx([1000 * s for s in seconds])
    # the first round alone is longer than a trial may take: one more, and no third
    assert asked == [*COMPUTE_MODES, *COMPUTE_MODES]
