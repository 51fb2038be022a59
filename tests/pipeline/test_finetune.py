"""One subnet trained alone after the search: what it starts from, how it resumes, and which weights
leave with it.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from walking import Silent

from mosdeploy import pipeline
from mosdeploy.config.sections import FinetuneConfig, TrainingConfig
from mosdeploy.errors import ConfigError, StaleInputError
from mosdeploy.pipeline.finetune import alone
from mosdeploy.records import ScoreTable, SubnetCard
from mosdeploy.spaces.costs import num_parameters
from mosdeploy.storage import read_record, write_record
from mosdeploy.supernet.checkpoint import load_subnet, load_supernet
from mosdeploy.workspace import Workspace


@pytest.fixture
def folder(walked: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(walked, tmp_path / "run"))


class Said(Silent):
    """Progress that keeps what was said, and stops the verb at an update."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.lines: list[str] = []
        self.stop_at = stop_at

    def say(self, message: str) -> None:
        self.lines.append(message)

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        if done == self.stop_at:
            raise KeyboardInterrupt


def finetune(
    root: Path, steps: int = 10, from_scratch: bool = False, progress: Said | None = None
) -> SubnetCard:
    return pipeline.finetune(
        pipeline.open_run(root), "winner", steps, from_scratch, progress or Said()
    )


def test_the_training_of_one_subnet_by_hand() -> None:
    training = TrainingConfig(steps=400, learning_rate=1e-2, warmup_steps=100, validate_every=50)
    short = alone(
        training, FinetuneConfig(steps=60, learning_rate_share=0.5), None, from_scratch=False
    )
    assert (short.updates, short.learning_rate, short.warmup_steps, short.validate_every) == (
        60,
        5e-3,
        6,
        3,
    )
    whole = alone(training, FinetuneConfig(), None, from_scratch=True)
    assert (whole.updates, whole.learning_rate, whole.warmup_steps, whole.validate_every) == (
        400,
        1e-2,
        40,
        20,
    )
    assert alone(training, FinetuneConfig(), 7, from_scratch=True).updates == 7


def test_a_killed_finetuning_goes_on_as_if_undisturbed(folder: Path, tmp_path: Path) -> None:
    killed = Path(shutil.copytree(folder, tmp_path / "killed"))
    whole = finetune(folder)
    with pytest.raises(KeyboardInterrupt):
        finetune(killed, progress=Said(stop_at=6))
    again = finetune(killed)
    assert again.subnet_sha256 == whole.subnet_sha256
    assert (again.start_loss, again.loss) == (whole.start_loss, whole.loss)
    log = Workspace(killed).subnet_log_path(whole.arch.key, "finetuned").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == list(range(1, 11))
    assert json.loads(log[-1])["subnet_loss"] == whole.loss
    said = Said()
    assert finetune(folder, progress=said) == whole
    assert said.lines == ["already trained from the same weights in the same way"]
    with pytest.raises(KeyboardInterrupt):
        finetune(killed, steps=12, progress=Said(stop_at=5))
    with pytest.raises(StaleInputError, match=r"checkpoint\.pt was made from .*delete it"):
        finetune(killed, steps=11)


def test_it_starts_from_the_inherited_weights_and_scratch_from_the_seed(folder: Path) -> None:
    tuned, scratch = finetune(folder), finetune(folder, from_scratch=True)
    run = pipeline.open_run(folder)
    winner = num_parameters(run.config.space, tuned.arch, run.supernet_card().vocab_size)
    table = pipeline.evaluate(run, ("winner",), None, Silent()).subnets
    assert list(table) == ["winner", "winner, finetuned", "winner, scratch"]
    assert table["winner"].loss == pytest.approx(tuned.start_loss, rel=1e-6)
    assert table["winner, finetuned"].loss == pytest.approx(tuned.loss, rel=1e-6)
    assert table["winner, scratch"].loss == pytest.approx(scratch.loss, rel=1e-6)
    assert {scores.num_parameters for scores in table.values()} == {winner}
    assert tuned.loss < tuned.start_loss < scratch.start_loss
    net = load_supernet(run.workspace.supernet_path)
    again = load_subnet(run.workspace.subnet_path(tuned.arch.key, "finetuned"), net)
    assert not torch.equal(again.embed.weight, net.embed.weight[:, : again.embed.weight.shape[1]])


def test_export_takes_finetuned_weights_when_they_count_and_are_better(folder: Path) -> None:
    run, said = pipeline.open_run(folder), Said()
    before = pipeline.export(run, "winner", None, None, said)
    assert before.manifest.weights == "inherited"
    assert said.lines[0] == "inherited weights"
    with pytest.raises(
        StaleInputError,
        match=r"subnet\.json does not exist; run `mosdeploy finetune --from-scratch`",
    ):
        pipeline.export(run, "winner", None, None, said, "scratch")
    card = finetune(folder)
    after = pipeline.export(run, "winner", None, None, said)
    assert after.manifest.weights == "finetuned"
    assert after.manifest.inputs_sha256["subnet"] == card.subnet_sha256
    assert after.path.name == before.path.name + "-finetuned"
    assert f"finetuned weights of 10 steps, validation loss {card.loss:.4f}" in said.lines[-2]
    assert pipeline.export(run, "winner", None, None, said, "inherited").path == before.path
    assert pipeline.export(run, "largest", None, None, said).manifest.weights == "inherited"
    with pytest.raises(
        ConfigError, match="unknown weights 'best'; known: inherited, finetuned, scratch"
    ):
        pipeline.export(run, "winner", None, None, said, "best")

    card_path = run.workspace.subnet_card_path(card.arch.key, "finetuned")
    write_record(card_path, card.model_copy(update={"loss": card.start_loss}))
    assert pipeline.export(run, "winner", None, None, said).manifest.weights == "inherited"
    assert "since finetuning did not lower the validation loss" in said.lines[-2]
    write_record(card_path, card.model_copy(update={"supernet_sha256": "0" * 64}))
    assert pipeline.export(run, "winner", None, None, said).manifest.weights == "inherited"
    assert "made from another supernet" in said.lines[-2]
    with pytest.raises(
        StaleInputError,
        match="made from another supernet or corpus; run `mosdeploy finetune` again",
    ):
        pipeline.export(run, "winner", None, None, said, "finetuned")


def test_the_report_scores_the_weights_of_the_bundle(folder: Path) -> None:
    card, run = finetune(folder), pipeline.open_run(folder)
    pipeline.export(run, "winner", None, None, Silent())
    pipeline.evaluate(run, None, None, Silent())
    pipeline.report(run)
    table = read_record(ScoreTable, run.workspace.scores_path, "mosdeploy evaluate")
    report = json.loads((folder / "report" / "report.json").read_text())
    assert report["headline"]["bleu"] == table.subnets["winner, finetuned"].bleu
    assert report["bundle"]["inputs_sha256"]["subnet"] == card.subnet_sha256
