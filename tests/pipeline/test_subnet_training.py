"""One subnet trained alone: what a kill leaves beside it."""

from pathlib import Path

import pytest
from walking import opened

from mosdeploy.errors import MosdeployError, StaleInputError
from mosdeploy.locks import locked
from mosdeploy.supernet.checkpoint import save_training_state
from mosdeploy.workspace import Workspace


def test_a_state_that_a_kill_left_beside_its_subnet_blocks_no_other_training(folder: Path) -> None:
    card = opened(folder).finetune(steps=2)
    path = Workspace(folder).subnet_checkpoint_path(card.arch.key, "finetuned")
    save_training_state(path, {"inputs_sha256": card.inputs_sha256})
    assert opened(folder).finetune(steps=3).steps == 3
    # one that is not of the subnet that stands there is somebody's work
    save_training_state(path, {"inputs_sha256": "other"})
    with pytest.raises(StaleInputError, match=r"checkpoint\.pt was made from .*delete it"):
        opened(folder).finetune(steps=4)


def test_a_subnet_is_trained_by_one_process(folder: Path) -> None:
    card = opened(folder).finetune(steps=2)
    path = Workspace(folder).subnet_path(card.arch.key, "finetuned")
    with (
        locked(path, MosdeployError("held")),
        pytest.raises(MosdeployError, match="another `mosdeploy finetune` trains"),
    ):
        opened(folder).finetune(steps=2)
