"""Token ids between the process that prepares a training and all that train."""

from pathlib import Path

import numpy as np
from walking import KeptProgress

from mosdeploy.config.sections import TrainingConfig
from mosdeploy.families import load_family
from mosdeploy.families.translation.dataset import made_up_dataset
from mosdeploy.pipeline.token_files import (
    read_tokens,
    remove_tokens,
    training_progress,
    write_tokens,
)


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


def test_a_step_is_told_with_its_loss_and_its_speed() -> None:
    progress = KeptProgress()
    training_progress("finetune", progress)(3, 10, 2.5, 12_345.6, 0.0)
    assert progress.updates == [("finetune", "loss 2.500, 12,346 targets/s")]
