"""Outputs of a teacher: in any precision they are the network's own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoders import VOCAB_SIZE, encoder_space, random_ids, uneven_arch

from mosdeploy.config.sections import SupernetConfig, TrainingConfig
from mosdeploy.data.batches import Ragged
from mosdeploy.families.encoder import teacher_outputs
from mosdeploy.families.encoder.dataset import BatchLayout
from mosdeploy.families.encoder.elastic import fresh_subnet
from mosdeploy.families.encoder.scoring import outputs_of
from mosdeploy.families.encoder.teacher_outputs import TRIAL_TEXTS, TeacherOutputs
from mosdeploy.training.device import ComputeModeTrial

LAYOUT = BatchLayout(pad_id=0, sep_id=2, num_types=2)
FULL = TrainingConfig(amp="none")


@pytest.fixture(scope="module")
def network() -> Any:
    return fresh_subnet(uneven_arch(), encoder_space(), VOCAB_SIZE, SupernetConfig(), 1)


def texts(count: int) -> Ragged:
    lengths = np.random.default_rng(3).integers(3, 20, count)
    return Ragged.of(random_ids(lengths.tolist()))


def wanted_of(network: Any, ids: Ragged) -> list[torch.Tensor]:
    return outputs_of(network, [ids[i].tolist() for i in range(len(ids))], LAYOUT)


@pytest.mark.parametrize("amp", ["none", "bf16", "auto"])
def test_labels_are_the_networks_outputs(network: Any, amp: Any, tmp_path: Path) -> None:
    ids = texts(2 * TRIAL_TEXTS + 1)
    labels = TeacherOutputs(tmp_path, ids)
    labels.compute(network, LAYOUT, TrainingConfig(amp=amp))
    found = [torch.from_numpy(x) for x in labels.values]
    wanted = wanted_of(network, ids)
    rounding = 0.0 if amp == "none" else 0.05
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == torch.float32
        assert one.shape == (3,)
        torch.testing.assert_close(one, other, atol=rounding, rtol=rounding)
    exact = all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert exact or amp != "none"
    assert not exact or amp != "bf16"  # it does compute in that precision


class KilledError(Exception):
    pass


def test_a_killed_labelling_goes_on(
    network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the parts that were done; progress counts them."""
    monkeypatch.setattr(teacher_outputs, "PART_TEXTS", 64)
    ids = texts(150)
    told: list[tuple[int, int]] = []

    def kill(done: int, total: int) -> None:
        told.append((done, total))
        if done == 96:
            raise KilledError

    with pytest.raises(KilledError):
        TeacherOutputs(tmp_path, ids).compute(network, LAYOUT, FULL, kill)
    assert told == [(32, 150), (64, 150), (96, 150)]
    again = TeacherOutputs(tmp_path, ids)
    assert not again.is_whole
    again.compute(network, LAYOUT, FULL, lambda *x: told.append(x))
    assert told[3:] == [(96, 150), (128, 150), (150, 150)]
    kept = TeacherOutputs(tmp_path, ids)
    assert kept.is_whole
    for one, other, third in zip(again.values, kept.values, wanted_of(network, ids), strict=True):
        assert np.array_equal(one, other)
        assert np.array_equal(one, third.numpy())


def test_a_killed_labelling_keeps_its_precision(
    network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the other one is the faster now, and few texts are left."""
    monkeypatch.setattr(teacher_outputs, "PART_TEXTS", 2 * TRIAL_TEXTS)
    chosen = iter(["bf16", "none"])

    def choose(trials: Any) -> ComputeModeTrial:
        amp = next(chosen)
        return ComputeModeTrial(amp=amp, is_unfused=amp == "bf16", full_ms=1.0, bf16_ms=1.0)

    def kill(done: int, total: int) -> None:
        if done > 2 * TRIAL_TEXTS:
            raise KilledError

    monkeypatch.setattr(teacher_outputs, "fastest", choose)
    ids = texts(2 * TRIAL_TEXTS + 40)
    auto = TrainingConfig(amp="auto")
    with pytest.raises(KilledError):
        TeacherOutputs(tmp_path, ids).compute(network, LAYOUT, auto, kill)
    again = TeacherOutputs(tmp_path, ids)
    again.compute(network, LAYOUT, auto)
    whole = TeacherOutputs(tmp_path / "whole", ids)
    whole.compute(network, LAYOUT, TrainingConfig(amp="bf16"))
    assert all(map(np.array_equal, again.values, whole.values))


@pytest.mark.parametrize("length", [0, 100])
def test_a_part_that_was_cut_is_made_again(network: Any, tmp_path: Path, length: int) -> None:
    ids = texts(5)
    TeacherOutputs(tmp_path, ids).compute(network, LAYOUT, FULL)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:length])
    labels = TeacherOutputs(tmp_path, ids)
    assert not labels.is_whole
    labels.compute(network, LAYOUT, FULL)
    assert path.read_bytes() == content


def test_a_part_with_any_wrong_byte_is_an_answer_or_made_again(
    network: Any, tmp_path: Path
) -> None:
    ids = texts(5)
    TeacherOutputs(tmp_path, ids).compute(network, LAYOUT, FULL)
    wanted = TeacherOutputs(tmp_path, ids).values
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    for i in range(len(content)):
        path.write_bytes(content[:i] + bytes([content[i] ^ 0xFF]) + content[i + 1 :])
        labels = TeacherOutputs(tmp_path, ids)
        if labels.is_whole:
            assert all(map(np.array_equal, labels.values, wanted))
