"""One subnet trained alone after the search: what it starts from, and how it resumes."""

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from walking import KeptProgress, edit, opened

from mosdeploy.config.sections import FinetuneConfig, TrainingConfig
from mosdeploy.errors import ConfigError, StaleInputError
from mosdeploy.pipeline.finetune import FinetuneOptions, alone
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import trained_run
from mosdeploy.workspace import Workspace


def subnet_weights(root: Path, key: str) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(Workspace(root).subnet_path(key, "finetuned"))


def changes(training: TrainingConfig) -> tuple[int, float, int, int]:
    return (
        training.steps,
        training.learning_rate,
        training.warmup_steps,
        training.validate_every,
    )


def test_the_training_of_one_subnet_by_hand() -> None:
    training = TrainingConfig(steps=400, learning_rate=1e-2, warmup_steps=100, validate_every=50)
    short = FinetuneConfig(steps=60)
    assert changes(alone(training, short, FinetuneOptions())) == (60, 1e-2, 6, 3)
    whole = FinetuneOptions(from_scratch=True)
    assert changes(alone(training, short, whole)) == (460, 1e-2, 46, 23)
    few = FinetuneOptions(from_scratch=True, steps=7)
    assert alone(training, FinetuneConfig(), few).steps == 7


def test_the_winner_decays_the_rate_that_a_supernet_left_at_its_peak() -> None:
    training = TrainingConfig(steps=400, warmup_steps=100, schedule="constant")
    config = FinetuneConfig(steps=100)
    resumed = alone(training, config, FinetuneOptions())
    assert (resumed.schedule, resumed.warmup_steps) == ("cosine", 2)
    mixed = alone(training, FinetuneConfig(steps=100, inherited_share=0.4), FinetuneOptions())
    assert (mixed.schedule, mixed.warmup_steps) == ("cosine", 10)
    scratch = alone(training, config, FinetuneOptions(from_scratch=True))
    assert (scratch.schedule, scratch.warmup_steps) == ("cosine", 50)
    line = training.model_copy(update={"schedule": "linear"})
    assert alone(line, config, FinetuneOptions()).schedule == "linear"


def test_a_killed_finetuning_goes_on_as_if_undisturbed(folder: Path, tmp_path: Path) -> None:
    killed = Path(shutil.copytree(folder, tmp_path / "killed"))
    whole = opened(folder).finetune(steps=10)
    with pytest.raises(KeyboardInterrupt):
        opened(killed, KeptProgress(stop_at=6)).finetune(steps=10)
    again = opened(killed).finetune(steps=10)
    assert again.subnet_sha256 == whole.subnet_sha256
    assert (again.start_loss, again.loss) == (whole.start_loss, whole.loss)
    log = (
        Workspace(killed)
        .subnet_path(whole.arch.key, "finetuned")
        .with_name("log.jsonl")
        .read_text()
        .splitlines()
    )
    assert [json.loads(line)["step"] for line in log] == list(range(1, 11))
    assert json.loads(log[-1])["subnet_loss"] == whole.loss


def test_no_steps_are_no_training(folder: Path) -> None:
    for steps in (0, -3):
        with pytest.raises(ConfigError, match=f"steps is {steps}; at least 1 is needed"):
            opened(folder).finetune(steps=steps)


def test_a_finished_finetuning_is_left_as_it_is(folder: Path) -> None:
    card = opened(folder).finetune(steps=2)
    progress = KeptProgress()
    assert opened(folder, progress).finetune(steps=2) == card
    assert progress.messages == ["already trained from the same weights in the same way"]
    # but not where what it was trained on has changed since
    with (folder / "data" / "train.en").open("a") as file:
        file.write("one more line\n")
    with (folder / "data" / "train.de").open("a") as file:
        file.write("eine Zeile mehr\n")
    with pytest.raises(StaleInputError, match="mosdeploy train"):
        opened(folder).finetune(steps=2)


def test_an_unfinished_finetuning_of_something_else_is_kept(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        opened(folder, KeptProgress(stop_at=5)).finetune(steps=12)
    with pytest.raises(StaleInputError, match=r"training\.steps was 12, is 11 now: restore"):
        opened(folder).finetune(steps=11)
    edit(folder / "mosdeploy.toml", "[training]", "[finetune]\ninherited_share = 0.5\n[training]")
    with pytest.raises(StaleInputError, match=r"finetune\.inherited_share was 1\.0, is 0\.5 now"):
        opened(folder).finetune(steps=12)
    edit(folder / "mosdeploy.toml", "[finetune]\ninherited_share = 0.5\n", "")
    card = opened(folder).finetune(steps=12)
    left = Workspace(folder).subnet_card_path(card.arch.key, "finetuned").parent
    assert sorted(x.name for x in left.iterdir() if not x.name.endswith(".lock")) == [
        "log.jsonl",
        "subnet.json",
        "subnet.safetensors",
    ]


def test_the_command_of_a_finetuning_is_as_it_was_typed() -> None:
    options = FinetuneOptions("my arch.json", 9, from_scratch=True)
    words = "--pick 'my arch.json' --steps 9 --from-scratch"
    assert options.command == f"mosdeploy finetune {words}"
    assert FinetuneOptions().command == "mosdeploy finetune"


def test_it_starts_from_inherited_weights_or_the_seed(folder: Path) -> None:
    run = opened(folder)
    tuned = run.finetune(steps=10)
    scratch = run.finetune(steps=10, from_scratch=True)
    table = run.evaluate(("winner",)).subnets
    assert list(table) == ["winner", "winner, finetuned", "winner, scratch"]
    assert table["winner"].loss == pytest.approx(tuned.start_loss, rel=1e-6)
    assert table["winner, finetuned"].loss == pytest.approx(tuned.loss, rel=1e-6)
    assert table["winner, scratch"].loss == pytest.approx(scratch.loss, rel=1e-6)
    assert tuned.loss < tuned.start_loss < scratch.start_loss
    state = trained_run(open_run(folder))
    num_parameters = state.spec.num_parameters(tuned.arch)
    assert {scores.num_parameters for scores in table.values()} == {num_parameters}
    inherited = state.subnet(tuned.arch).state_dict()
    weights = subnet_weights(folder, tuned.arch.key)
    assert weights.keys() == inherited.keys()
    assert not any(torch.equal(weights[name], inherited[name]) for name in weights)


@pytest.mark.slow
def test_a_part_of_the_weights_is_inherited_and_the_rest_fresh(
    folder: Path, tmp_path: Path
) -> None:
    """What is told of the start is the loss of what the supernet has, as without that."""
    whole = opened(folder).finetune(steps=10)
    mixed = Path(shutil.copytree(folder, tmp_path / "mixed"))
    shutil.rmtree(mixed / "subnets")  # else the better of both stays
    edit(mixed / "mosdeploy.toml", "[workload]", "[finetune]\ninherited_share = 0.4\n\n[workload]")
    progress = KeptProgress()
    card = opened(mixed, progress).finetune(steps=10)
    assert card.start_loss == whole.start_loss
    assert card.loss != whole.loss
    assert progress.messages[-1].endswith("with 0.4 of these weights and the rest fresh")
    # the same again, killed on its way
    shutil.rmtree(mixed / "subnets")
    with pytest.raises(KeyboardInterrupt):
        opened(mixed, KeptProgress(stop_at=6)).finetune(steps=10)
    assert opened(mixed).finetune(steps=10).subnet_sha256 == card.subnet_sha256
    # from scratch, nothing is inherited
    scratch = opened(mixed).finetune(steps=10, from_scratch=True)
    assert scratch.loss == opened(folder).finetune(steps=10, from_scratch=True).loss


def test_better_weights_are_kept(folder: Path) -> None:
    card = opened(folder).finetune(steps=12)
    progress = KeptProgress()
    assert opened(folder, progress).finetune(steps=1) == card
    assert f"weights of 12 steps with a validation loss of {card.loss:.4f}" in progress.messages[0]
    assert "those of 12 steps" in progress.messages[-1]
    # neither of them is trained again
    for steps in (1, 12):
        progress = KeptProgress()
        assert opened(folder, progress).finetune(steps=steps) == card
        assert progress.updates == []
    better = opened(folder).finetune(steps=40)
    assert better.steps == 40 and better.loss < card.loss
    progress = KeptProgress()
    assert opened(folder, progress).finetune(steps=12) == better
    assert progress.updates == []
