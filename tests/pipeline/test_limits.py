"""What an architecture costs besides time, in both families."""

from collections.abc import Callable
from pathlib import Path

import pytest
from encoder_walking import make_encoder_folder
from walking import make_run_folder

from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import cost_function


def make_small_encoder(root: Path) -> Path:
    return make_encoder_folder(root / "encoder", "classification")


@pytest.mark.parametrize("make", [make_run_folder, make_small_encoder])
def test_memory_is_that_of_model_and_activations(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    context = Context(open_run(make(tmp_path)))
    ends = (context.config.space.smallest, context.config.space.largest)
    cost = cost_function(context.spec, context.family)
    costs = [cost(arch) for arch in ends]
    inventories = [context.spec.inventory(arch) for arch in ends]
    for found, inventory in zip(costs, inventories, strict=True):
        assert found.memory_bytes == found.size_bytes + inventory.activation_bytes
        # a limit may leave the embedding table out
        assert 0 < found.num_body_parameters < found.num_parameters
    assert 0 < inventories[0].activation_bytes < inventories[1].activation_bytes
