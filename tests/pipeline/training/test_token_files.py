"""Token ids between the process that prepares a training and all that train."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from encoder_walking import make_encoder_folder
from walking import KeptProgress, opened

from mosdeploy.config.sections import TrainingConfig
from mosdeploy.errors import MosdeployError
from mosdeploy.families import load_family
from mosdeploy.families.translation.dataset import made_up_dataset
from mosdeploy.pipeline.training.prepare import (
    read_tokens,
    remove_tokens,
    training_progress,
    write_tokens,
)
from mosdeploy.training.log import LogLine
from mosdeploy.workspace import Workspace


def test_token_ids_are_read_as_they_were_written(tmp_path: Path) -> None:
    family = load_family("translation")
    train = made_up_dataset(vocab_size=20, num_tokens=5, tokens_per_batch=60)
    valid = made_up_dataset(vocab_size=20, num_tokens=7, tokens_per_batch=14)
    write_tokens(tmp_path, train, valid)
    batches, valid_batches = read_tokens(tmp_path, family, TrainingConfig(tokens_per_batch=30))
    opened = family.open_dataset(tmp_path / "tokens-train.npy")
    np.testing.assert_array_equal(opened.lengths, train.lengths)
    assert sum(batch.num_targets for batch in valid_batches) == valid.num_targets.sum()
    assert batches[0].num_targets == batches.num_targets(0) > 0
    remove_tokens(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_validation_example_may_be_longer_than_a_validation_batch(tmp_path: Path) -> None:
    pair = made_up_dataset(vocab_size=20, num_tokens=4096, tokens_per_batch=4097)
    write_tokens(tmp_path, pair, pair)
    family = load_family("translation")
    _, batches = read_tokens(tmp_path, family, TrainingConfig(tokens_per_batch=4097))
    assert [batch.num_targets for batch in batches] == [4097]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A run folder of an encoder on a disk with room for a few pages."""
    root = tmp_path / "run"
    root.mkdir()
    size = ("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(root))
    if subprocess.run(size, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        make_encoder_folder(root, "classification")
        resize(root, (16 << 20) - shutil.disk_usage(root).free + (40 << 10))
        yield root
    finally:
        subprocess.run(["umount", str(root)], check=True)


def resize(root: Path, num_bytes: int) -> None:
    options = ("mount", "-o", f"remount,size={num_bytes}", str(root))
    subprocess.run(options, check=True)


@pytest.mark.slow
def test_a_disk_that_token_ids_fill_is_an_error_and_with_more_space_all_is_as_ever(
    small_disk: Path, trained_encoder: Path
) -> None:
    files = Workspace(small_disk)
    with pytest.raises(MosdeployError, match="no space left to write"):
        opened(small_disk).train()
    left = {path.name for path in files.beside.supernet_dir.iterdir()}
    assert not [name for name in left if "tokens" in name or "partial" in name]
    resize(small_disk, 64 << 20)
    card = opened(small_disk).train()
    undisturbed = opened(trained_encoder).train()
    assert card.supernet_sha256 == undisturbed.supernet_sha256


def line(step: int, **losses: float) -> LogLine:
    return LogLine(
        step=step,
        loss=2.5,
        learning_rate=1e-3,
        gradient_norm=1.0,
        targets_per_s=12_345.6,
        seconds=1.0,
        **losses,
    )


class DrawnProgress(KeptProgress):
    """Progress that keeps the curves that it is told to draw."""

    def __init__(self) -> None:
        super().__init__()
        self.curves: list[tuple[float, ...]] = []

    def curve(self, stage: str, values: Sequence[float]) -> None:
        self.curves.append(tuple(values))


def test_a_step_is_told_with_its_losses_and_its_speed() -> None:
    progress = KeptProgress()
    show = training_progress("finetune", progress)
    show(line(3), 10, 0.0)
    show(line(4, subnet_loss=2.25), 10, 0.0)
    show(line(5), 10, 0.0)
    told = "loss 2.500, 12,346 targets/s"
    # of the last validation, until there is another
    later = f"{told}, validation 2.250"
    assert progress.updates == [("finetune", told), ("finetune", later), ("finetune", later)]


def test_validation_losses_are_drawn_by_whoever_can() -> None:
    progress = DrawnProgress()
    show = training_progress("train", progress)
    for step in (1, 2, 3):
        losses = {"largest_loss": 3.0 - step, "smallest_loss": 9.0} if step > 1 else {}
        show(line(step, **losses), 3, 0.0)
    assert progress.curves == [(), (1.0,), (1.0, 0.0)]
