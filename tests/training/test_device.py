import pytest
import torch

from mosdeploy.config.sections import TrainingConfig
from mosdeploy.errors import ConfigError
from mosdeploy.training.device import DeviceContext


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
