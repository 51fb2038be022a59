"""Training in other precisions, and with activations computed twice."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from training_fixtures import CONFIG, NO_DROPOUT, Run, interrupt_at, log_of, without_times

from mosdeploy.config.sections import SupernetConfig
from mosdeploy.data.batches import Batches
from mosdeploy.families.translation.dataset import TranslationDataset
from mosdeploy.supernet.supernet import Supernet


def test_bf16_stays_near_full_precision(
    net: Callable[..., Supernet], run: Run, tmp_path: Path
) -> None:
    for amp in ("none", "bf16"):
        run(
            net(NO_DROPOUT),
            CONFIG.model_copy(update={"steps": 3, "amp": amp}),
            folder=tmp_path / amp,
        )
    full = log_of(tmp_path / "none")
    half = log_of(tmp_path / "bf16")
    assert [line["loss"] for line in half] == pytest.approx(
        [line["loss"] for line in full], rel=0.02
    )
    assert half[0]["loss"] != full[0]["loss"]


@pytest.mark.slow
def test_fp16_stays_near_and_leaves_out_what_overflows(
    net: Callable[..., Supernet], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for amp in ("none", "fp16"):
        run(
            net(NO_DROPOUT),
            CONFIG.model_copy(update={"steps": 3, "amp": amp}),
            folder=tmp_path / amp,
        )
    full = log_of(tmp_path / "none")
    half = log_of(tmp_path / "fp16")
    assert [line["loss"] for line in half] == pytest.approx(
        [line["loss"] for line in full], rel=0.02
    )
    assert [line["gradient_norm"] for line in half] == pytest.approx(
        [line["gradient_norm"] for line in full], rel=0.1
    )
    assert half[0]["loss"] != full[0]["loss"]

    scaler = torch.amp.GradScaler
    monkeypatch.setattr(
        torch.amp,
        "GradScaler",
        lambda device, enabled: scaler(device, init_scale=2.0**30, enabled=enabled),
    )
    run(
        net(NO_DROPOUT),
        CONFIG.model_copy(update={"steps": 20, "amp": "fp16"}),
        folder=tmp_path / "steep",
    )
    norms = [line["gradient_norm"] for line in log_of(tmp_path / "steep")]
    assert norms[0] is None
    assert norms[-1] is not None
    with pytest.raises(KeyboardInterrupt):
        run(
            net(NO_DROPOUT),
            CONFIG.model_copy(update={"steps": 20, "amp": "fp16"}),
            folder=tmp_path / "killed",
            progress=interrupt_at(7),
        )
    run(
        net(NO_DROPOUT),
        CONFIG.model_copy(update={"steps": 20, "amp": "fp16"}),
        folder=tmp_path / "killed",
    )
    assert without_times(log_of(tmp_path / "killed")) == without_times(log_of(tmp_path / "steep"))


@pytest.mark.slow
def test_checkpointing_changes_nothing_but_the_memory(
    net: Callable[..., Supernet], run: Run, pairs: TranslationDataset, tmp_path: Path
) -> None:
    for activation_checkpointing in (False, True):
        config = CONFIG.model_copy(
            update={"steps": 4, "amp": "bf16", "activation_checkpointing": activation_checkpointing}
        )
        run(
            net(SupernetConfig(dropout=0.3)),
            config,
            folder=tmp_path / str(activation_checkpointing),
        )
    assert without_times(log_of(tmp_path / "True")) == without_times(log_of(tmp_path / "False"))

    supernet = net().train()
    batch = Batches(pairs, 400, seed=1)[0]
    kept_bytes = {False: 0, True: 0}
    for activation_checkpointing in kept_bytes:

        def keep(
            tensor: torch.Tensor, activation_checkpointing: bool = activation_checkpointing
        ) -> torch.Tensor:
            kept_bytes[activation_checkpointing] += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            supernet(
                batch.inputs(),
                supernet.space.largest,
                activation_checkpointing=activation_checkpointing,
            )
    assert kept_bytes[True] < 0.7 * kept_bytes[False]
