"""Which weights leave with a subnet: those asked for, else the best by rule."""

from pathlib import Path

import pytest
from walking import KeptProgress, damage, opened

from mosdeploy.errors import ConfigError, StaleInputError
from mosdeploy.pipeline.finetune import FinetuneOptions, finetune
from mosdeploy.records import SubnetCard
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.subnets import select_subnet, subnet_card, trained_alone
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run
from mosdeploy.storage import write_record


@pytest.fixture
def finetuned(folder: Path) -> tuple[TrainedRun, SubnetCard]:
    """A trained run whose winner was trained alone, and the card of that."""
    card = opened(folder).finetune(steps=10)
    return trained_run(open_run(folder)), card


def write_card(state: TrainedRun, card: SubnetCard, **changes: object) -> None:
    path = state.files.subnet_card_path(card.arch.key, card.weights)
    write_record(path, card.model_copy(update=changes))


def test_inherited_weights_are_taken_where_there_are_no_others(walked: Path) -> None:
    state = trained_run(open_run(walked))
    chosen = select_subnet(state, state.config.space.largest, None)
    assert (chosen.weights, chosen.note, chosen.card) == ("inherited", "inherited weights", None)
    assert trained_alone(state, chosen.arch) == []


def test_unknown_or_missing_weights_are_refused(walked: Path) -> None:
    run = opened(walked)
    with pytest.raises(
        ConfigError,
        match="weights: 'best'",
    ):
        run.export(weights="best")
    with pytest.raises(
        StaleInputError,
        match=r"subnet\.json does not exist; run `mosdeploy finetune --from-scratch`",
    ):
        run.export(weights="scratch")
    with pytest.raises(StaleInputError, match="finetune --from-scratch --pick smallest`"):
        run.export("smallest", weights="scratch")


def test_finetuned_weights_are_taken_when_they_are_better(finetuned) -> None:
    state, card = finetuned
    chosen = select_subnet(state, card.arch, None)
    assert (chosen.weights, chosen.card) == ("finetuned", card)
    assert f"finetuned weights of 10 steps, validation loss {card.loss:.4f}" in chosen.note
    assert select_subnet(state, card.arch, "inherited").weights == "inherited"
    assert [other.weights for other in trained_alone(state, card.arch)] == ["finetuned"]


def test_finetuned_weights_that_are_no_better_are_left(finetuned) -> None:
    state, card = finetuned
    write_card(state, card, loss=card.start_loss)
    chosen = select_subnet(state, card.arch, None)
    assert chosen.weights == "inherited"
    assert chosen.note.endswith("since finetuning did not lower the validation loss")
    assert select_subnet(state, card.arch, "finetuned").weights == "finetuned"


def test_weights_of_another_supernet_do_not_count(finetuned) -> None:
    state, card = finetuned
    write_card(state, card, inputs={**card.inputs, "supernet": "sha256:0"})
    chosen = select_subnet(state, card.arch, None)
    assert chosen.weights == "inherited"
    assert "the supernet has changed" in chosen.note
    assert trained_alone(state, card.arch) == []
    with pytest.raises(
        StaleInputError,
        match="the supernet has changed; run `mosdeploy finetune` again",
    ):
        select_subnet(state, card.arch, "finetuned")


def test_weights_worse_than_inherited_are_left_without_finetuned_ones(
    encoder_folder: Path,
) -> None:
    options = FinetuneOptions("smallest", steps=1)
    card = finetune(Context(open_run(encoder_folder)), options, from_teacher=True)
    state = trained_run(open_run(encoder_folder))
    write_card(state, card, loss=99.0)
    chosen = select_subnet(state, card.arch, None)
    assert chosen.weights == "inherited"
    assert chosen.note.endswith("since finetuning did not lower the validation loss")
    write_card(state, card, loss=0.0)
    assert select_subnet(state, card.arch, None).weights == "from-teacher"


def test_weights_of_another_teacher_do_not_count(encoder_folder: Path) -> None:
    options = FinetuneOptions("smallest", steps=1)
    card = finetune(Context(open_run(encoder_folder)), options, from_teacher=True)
    state = trained_run(open_run(encoder_folder))
    assert subnet_card(state, card.arch, "from-teacher") == card
    assert state.teacher is not None
    state.teacher.weights_sha256 = "0" * 64  # type: ignore[misc]
    with pytest.raises(StaleInputError, match="the teacher has changed"):
        subnet_card(state, card.arch, "from-teacher")


def test_a_damaged_file_of_weights_does_not_count(finetuned) -> None:
    state, card = finetuned
    damage(state.files.subnet_path(card.arch.key, "finetuned"))
    with pytest.raises(StaleInputError, match="is not the file of its card"):
        subnet_card(state, card.arch, "finetuned")


def test_the_bundle_and_the_report_are_of_the_weights_taken(folder: Path) -> None:
    progress = KeptProgress()
    run = opened(folder, progress)
    before = run.export()
    assert before.manifest.weights == "inherited"
    assert progress.messages[0] == "inherited weights"
    card = run.finetune(steps=10)
    after = run.export()
    assert after.manifest.weights == "finetuned"
    assert after.manifest.provenance["subnet"] == card.subnet_sha256
    assert after.path.name == before.path.name + "-finetuned"
    scores = run.evaluate().subnets["winner, finetuned"]
    report = run.report().report
    assert report.headline.metrics == scores.metrics
    assert report.bundle is not None
    assert report.bundle.provenance["subnet"] == card.subnet_sha256
    assert run.export(weights="inherited").path == before.path
    assert run.export("largest").manifest.weights == "inherited"
