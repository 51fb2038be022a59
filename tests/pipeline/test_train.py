"""Training a run folder: nothing twice, again after a change, and nothing of another training
overwritten.
"""

import json
from pathlib import Path

import pytest
from walking import KeptProgress, damage, edit, lines_of, opened

from mosdeploy.errors import MosdeployError, StaleInputError
from mosdeploy.records import DataCard
from mosdeploy.storage import locked, read_record
from mosdeploy.supernet.checkpoint import save_training_state
from mosdeploy.workspace import Workspace


def test_a_training_leaves_a_supernet_its_cards_and_its_log(walked: Path) -> None:
    files = Workspace(walked)
    names = {path.name for path in files.supernet_path.parent.iterdir() if path.suffix != ".lock"}
    assert names == {
        "data.json",
        "log.jsonl",
        "supernet.json",
        "supernet.safetensors",
        "tokenizer.model",
    }
    card = read_record(DataCard, files.data_card_path, "mosdeploy train")
    assert (card.vocab_size, card.num_train + card.num_valid + card.num_test) == (44, 500)
    steps = [json.loads(line)["step"] for line in lines_of(files.training_log_path)]
    assert steps == list(range(1, 13))


def test_a_second_walk_repeats_no_work(folder: Path) -> None:
    files = Workspace(folder)
    watched = (files.training_log_path, files.quality_path, files.search_result_path)
    before = [path.read_bytes() for path in watched]
    progress = KeptProgress()
    run = opened(folder, progress)
    assert run.train().model_dump_json() == json.dumps(
        json.loads(files.supernet_card_path.read_text()), separators=(",", ":")
    )
    assert progress.messages == ["already trained from this data and configuration"]
    summary = run.profile()
    assert (summary.measured_now, summary.num_records) == (0, 12)
    run.search("10s")
    assert [path.read_bytes() for path in watched] == before


def test_train_mends_a_damaged_supernet(folder: Path) -> None:
    damage(Workspace(folder).supernet_path)
    run = opened(folder)
    with pytest.raises(StaleInputError, match="mosdeploy train"):
        run.search("10s")
    assert run.train().steps == 12
    assert run.search("10s").verified


def test_a_finished_run_trains_again_after_a_change(folder: Path) -> None:
    edit(folder / "mosdeploy.toml", "\nsteps = 12", "\nsteps = 3")
    run = opened(folder)
    with pytest.raises(
        StaleInputError, match="the configuration is not the one that the supernet was trained from"
    ):
        run.search("10s")
    assert run.train().steps == 3


def test_a_refused_training_overwrites_nothing(folder: Path) -> None:
    files = Workspace(folder)
    save_training_state(files.checkpoint_path, {"inputs_sha256": "another corpus"})
    edit(files.config_path, "vocab_size = 44", "vocab_size = 40")
    before = {path: path.read_bytes() for path in (folder / "supernet").iterdir() if path.is_file()}
    with pytest.raises(StaleInputError, match=r"checkpoint\.pt was made from .*delete it"):
        opened(folder).train()
    assert before == {path: path.read_bytes() for path in before}


def test_two_trainings_at_once_are_refused(folder: Path) -> None:
    with (
        locked(Workspace(folder).supernet_path, MosdeployError("held by the test")),
        pytest.raises(MosdeployError, match="another `mosdeploy train` runs in"),
    ):
        opened(folder).train()
