"""What a training would cost, beside other ways to share the weights."""

from pathlib import Path

import pytest
from walking import KeptProgress, edit, make_run_folder

from mosdeploy.pipeline.context import Context
from mosdeploy.pipeline.dry_run import dry_run
from mosdeploy.pipeline.run import open_run
from mosdeploy.records import TrainingCost
from mosdeploy.training import cost


def test_each_routing_is_tried_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made_up(task: cost.CostTask) -> TrainingCost:
        net = task.fresh(task.supernet)
        num_parameters = sum(weight.numel() for weight in net.parameters())
        return TrainingCost(
            num_parameters=num_parameters,
            parameters_bytes=4 * num_parameters,
            optimizer_bytes=8 * num_parameters,
            peak_bytes=0,
            step_s=0.1,
            num_targets=int(task.examples.num_targets.sum()),
        )

    monkeypatch.setattr(cost, "training_cost", made_up)
    root = make_run_folder(tmp_path / "run")
    edit(root / "mosdeploy.toml", "[workload]", '[supernet]\nrouting = "layer"\n[workload]')
    before = sorted(root.rglob("*"))
    progress = KeptProgress()
    found = dry_run(Context(open_run(root), progress))
    assert list(found.costs) == ["configured", "none", "layer", "neuron"]
    assert found.costs["configured"] == found.costs["layer"]
    sizes = [found.costs[name].num_parameters for name in ("none", "layer", "neuron")]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[1]
    assert (found.steps, found.vocab_size) == (12, 44)
    assert all(x.num_targets > 0 for x in found.costs.values())
    assert [note for _, note in progress.updates] == [*found.costs, ""]
    assert sorted(root.rglob("*")) == before
