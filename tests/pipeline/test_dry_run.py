"""What a training would cost, beside other ways to share the weights."""

import dataclasses
import tomllib
from pathlib import Path

import pytest
from walking import KeptProgress, edit, make_run_folder

from mosdeploy.config import load_recipe
from mosdeploy.config.encoder import EncoderRunConfig
from mosdeploy.pipeline.train import TrainOptions, dry_run
from mosdeploy.pipeline.training import timing
from mosdeploy.pipeline.training.timing import split_time
from mosdeploy.recipes import list_recipes, read_recipe
from mosdeploy.record import parse
from mosdeploy.records import TrainingCost
from mosdeploy.run_folder.budget import split_steps
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.run import Run, open_run
from mosdeploy.run_folder.summaries import StepTimes
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
    monkeypatch.setattr("mosdeploy.pipeline.train.busy", lambda: "other programs run here")
    root = make_run_folder(tmp_path / "run")
    edit(root / "mosdeploy.toml", "[workload]", '[supernet]\nrouting = "layer"\n[workload]')
    before = sorted(root.rglob("*"))
    progress = KeptProgress()
    found = dry_run(Context(open_run(root), progress))
    assert progress.messages == ["other programs run here"]
    assert list(found.costs) == ["configured", "none", "layer", "neuron"]
    assert found.costs["configured"] == found.costs["layer"]
    sizes = [found.costs[name].num_parameters for name in ("none", "layer", "neuron")]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[1]
    assert (found.steps, found.vocab_size) == (12, 44)
    assert all(x.num_targets > 0 for x in found.costs.values())
    assert [note for _, note in progress.updates] == ["none", "layer", "neuron", ""]
    edit(root / "mosdeploy.toml", "steps = 12", "budget = 100")
    assert dry_run(Context(open_run(root))).steps == split_steps(100).supernet_steps
    monkeypatch.setattr(timing, "time_steps", lambda *_, **__: StepTimes(supernet_s=2, winner_s=1))
    timed = dry_run(Context(open_run(root)), TrainOptions("10m"))
    assert timed.steps == split_time(600, 1, 2, 1).supernet_steps
    assert sorted(root.rglob("*")) == before


ENCODERS = [name for name in list_recipes() if load_recipe(name).family == "encoder"]
SMALL = {
    "embed_dim": [12, 24],
    "layer_dim": [12, 24],
    "layers": [1, 2],
    "ffn_dim": [24, 96],
    "head_dim": 2,
}


def made_small(recipe: str) -> EncoderRunConfig:
    """A recipe whose widths, depths, batches and vocabulary are a test's."""
    data = tomllib.loads(read_recipe(recipe))
    data["checkpoint"] = {"vocab_size": 64}
    space = data["space"]
    space |= {name: SMALL[name] for name in SMALL if name in space}
    if "layer_dim" in space:
        space["embed_dim"] = [24]
    data["training"] |= {"tokens_per_batch": 64, "grad_accum_steps": 1, "amp": "none"}
    data["workload"]["input_len"] = 16
    return parse(EncoderRunConfig, EncoderRunConfig.completed(data, Path()), recipe)


@pytest.mark.parametrize("recipe", ENCODERS)
def test_each_recipe_of_an_encoder_can_be_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    def in_this_process(task: cost.CostTask) -> TrainingCost:
        return cost._measure(dataclasses.replace(task, num_timed=1))

    monkeypatch.setattr(cost, "training_cost", in_this_process)
    run = open_run(make_run_folder(tmp_path))
    found = dry_run(Context(Run(run.workspace, made_small(recipe))))
    assert len(found.costs) == 4
    assert all(tried.step_s > 0 and tried.num_targets > 0 for tried in found.costs.values())
    assert found.steps == load_recipe(recipe).training.steps
    taught = made_small(recipe).teacher_steps
    assert (found.teacher_steps, found.teacher_s > 0) == (taught, taught > 0)
