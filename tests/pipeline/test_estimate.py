"""What a walk will take, added up by hand."""

from pathlib import Path

import pytest
from encoder_walking import make_encoder_folder
from walking import edit, make_run_folder

from mosdeploy.config.device import DeviceProfile, MeasureProtocol
from mosdeploy.family import DataSizes
from mosdeploy.pipeline.init import START_S, WRITING_S, WalkCosts
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.summaries import StepTimes, WalkEstimate

TIMES = StepTimes(supernet_s=3.0, winner_s=0.9)
BOARD = DeviceProfile(
    name="board", measure=MeasureProtocol(rounds=2, max_time_s=0.5, reference_every=4)
)


def estimated(
    context: Context, times: StepTimes, device: DeviceProfile, sizes: DataSizes
) -> WalkEstimate:
    return WalkCosts(context, times, device, sizes).estimate()


def test_a_translation_by_hand(tmp_path: Path) -> None:
    """12 steps, finetuning of 500, 12 subnets in two rounds with 5 references, 8 + 2 * 8 subnets on
    16 of the 36 pairs of a batch, 2 finalists, 8 examples for parity.
    """
    context = Context(open_run(make_run_folder(tmp_path)))
    found = estimated(context, TIMES, BOARD, DataSizes(400, 50, 30))
    each_s = START_S + 0.5
    example_s = 0.3 / 36  # a third of a step of 256 // 7 pairs
    answer_s = 2 * context.config.workload.decode_steps * example_s
    spec = context.spec
    larger = spec.num_macs(spec.space.largest) / spec.num_macs(spec.reference_arch())
    # at steps 6 and 12, and once more
    validations_s = 3 * 50 * (larger + 1) * example_s
    curve_s = 20 * 50 * example_s
    assert found.verbs == pytest.approx(
        {
            "train": 12 * 3.0 + validations_s,
            "profile": 2 * (12 + 5) * each_s,
            "search": 20 * 16 * example_s + 2 * (2 + 2) * each_s,
            "finetune": 500 * 0.9 + curve_s,
            # the largest, and three others
            "evaluate": (larger + 3) * 30 * answer_s,
            "export": WRITING_S + 2 * 8 * answer_s,
            "deploy": WRITING_S + 2 * (1 + 2) * each_s,
            "report": WRITING_S,
        }
    )
    assert found.training_s == pytest.approx(36 + 450 + validations_s + curve_s)
    assert found.total_s == pytest.approx(sum(found.verbs.values()))


def test_steps_of_more_batches_make_no_forward_pass_longer(tmp_path: Path) -> None:
    """A step of eight batches takes eight times as long."""
    found = []
    for number in (1, 8):
        root = make_run_folder(tmp_path / str(number))
        batches = f"\nsteps = 12\ngrad_accum_steps = {number}"
        edit(root / "mosdeploy.toml", "\nsteps = 12", batches)
        times = StepTimes(supernet_s=3.0 * number, winner_s=0.9 * number)
        context = Context(open_run(root))
        found.append(estimated(context, times, BOARD, DataSizes(400, 50, 30)).verbs)
    one, eight = found
    for verb in ("search", "evaluate"):
        assert eight[verb] == pytest.approx(one[verb])


def test_each_winner_is_searched_for_trained_and_exported(tmp_path: Path) -> None:
    """0.38 of 100 steps for the supernet, the rest in four parts."""
    found = []
    for number in (1, 4):
        root = make_run_folder(tmp_path / str(number))
        budget = f"\nsteps = 12\nbudget = 100\nnum_winners = {number}"
        edit(root / "mosdeploy.toml", "\nsteps = 12", budget)
        found.append(estimated(Context(open_run(root)), TIMES, BOARD, DataSizes(400, 0, 30)))
    one, four = found
    assert four.steps == {"teacher": 0, "supernet": 38, "winner": 15}
    for verb in ("search", "evaluate", "export", "deploy", "report"):
        assert four.verbs[verb] == pytest.approx(4 * one.verbs[verb])
    more_s = four.verbs["finetune"] - 4 * one.verbs["finetune"]
    assert more_s == pytest.approx(4 * 0.9 * (15 - 93))
    assert four.notes["finetune"] == "15 steps of each of 4 winners, 0.90 s each"


def test_an_encoder_has_a_teacher_and_two_starts(tmp_path: Path) -> None:
    context = Context(open_run(make_encoder_folder(tmp_path / "run", "classification")))
    found = estimated(context, TIMES, BOARD, DataSizes(0, 0, 0))
    assert found.steps == {"teacher": 40, "supernet": 12, "winner": 6}
    assert found.verbs["finetune"] == pytest.approx(2 * 6 * 0.9)
    # the teacher is of the largest architecture, above the middling one that was timed
    assert found.verbs["train"] > 12 * 3.0 + 40 * 0.9
    # and gives its outputs for all examples
    labelled = estimated(context, TIMES, BOARD, DataSizes(1000, 0, 0))
    assert labelled.verbs["train"] > found.verbs["train"]
    assert labelled.verbs["finetune"] == found.verbs["finetune"]


def test_what_is_drawn_is_all_that_is_read(tmp_path: Path) -> None:
    root = make_encoder_folder(tmp_path / "run", "classification")
    edit(
        root / "mosdeploy.toml", "[training]", "[training]\ntrain_examples = 50\nvalid_examples = 9"
    )
    few, many = (
        WalkCosts(Context(open_run(root)), TIMES, BOARD, sizes)
        for sizes in (DataSizes(50, 9, 0), DataSizes(5000, 900, 0))
    )
    assert few.estimate() == many.estimate()
    # an epoch of 12 steps, each of two extremes and a random architecture
    assert few.num_read >= 12 * 3 * few.batch_examples
