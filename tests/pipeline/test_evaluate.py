"""Scores of subnets: which are scored, by what, on what."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from walking import KeptProgress, edit, opened

from mosdeploy.errors import ConfigError, MosdeployError
from mosdeploy.pipeline import evaluate as module
from mosdeploy.records import ScoreTable
from mosdeploy.storage import locked, read_record, write_record
from mosdeploy.training.device import torch_threads
from mosdeploy.workspace import Workspace

KNOWN = "already scored on the same examples"


def test_scores_are_the_metrics_of_the_family(walked: Path) -> None:
    table = read_record(ScoreTable, Workspace(walked).scores_path, "mosdeploy evaluate")
    assert list(table.subnets) == ["largest", "winner"]
    for scores in table.subnets.values():
        assert list(scores.metrics) == ["BLEU", "chrF"]
        assert all(0.0 <= value <= 100.0 for value in scores.metrics.values())
        assert (scores.setup, scores.weights) == ("greedy", "inherited")
        assert scores.num_examples > 0


def test_what_is_scored_unasked_and_with_which_beam(folder: Path) -> None:
    progress = KeptProgress()
    run = opened(folder, progress)
    table = run.evaluate(beam=2)
    assert list(table.subnets) == ["largest", "smallest", "winner"]
    assert {scores.setup for scores in table.subnets.values()} == {"beam 2"}
    assert [note for _, note in progress.updates] == ["largest", "smallest", "winner", ""]
    (folder / "search" / "result.json").unlink()
    assert list(run.evaluate().subnets) == ["largest", "smallest"]


def test_what_a_killed_run_scored_is_not_scored_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "scores.json").unlink()
    with pytest.raises(KeyboardInterrupt):
        opened(folder, KeptProgress(stop_at=1)).evaluate()
    table = read_record(ScoreTable, Workspace(folder).scores_path, "mosdeploy evaluate")
    assert list(table.subnets) == ["largest"]
    # what is read from there is believed
    wrong = table.subnets["largest"].model_copy(update={"loss": 99.0})
    kept = table.model_copy(update={"subnets": {"largest": wrong}})
    write_record(Workspace(folder).scores_path, kept)
    progress = KeptProgress()
    table = opened(folder, progress).evaluate()
    assert list(table.subnets) == ["largest", "smallest", "winner"]
    assert table.subnets["largest"].loss == 99.0 > table.subnets["winner"].loss
    assert opened(folder, progress).evaluate(("winner",)).subnets == {
        "winner": table.subnets["winner"]
    }
    assert KNOWN in progress.messages
    # of another workload, or by another version, it is not
    assert opened(folder).evaluate(beam=2).subnets["largest"].loss < 99.0
    write_record(Workspace(folder).scores_path, kept)
    monkeypatch.setattr("mosdeploy.run_folder.catalog.__version__", "another")
    assert opened(folder).evaluate().subnets["largest"].loss < 99.0


def test_a_pick_leaves_the_other_scores(folder: Path) -> None:
    run = opened(folder)
    run.finetune(steps=2)
    run.evaluate(("winner",))
    assert next(iter(run.evaluate(("1",)).subnets)) == "front 1"
    path = Workspace(folder).scores_path
    table = read_record(ScoreTable, path, "mosdeploy evaluate")
    assert {"largest", "winner", "winner, finetuned", "front 1"} <= set(table.subnets)
    # what was trained again since has no scores yet
    run.finetune(steps=3)
    run.evaluate(("1",))
    table = read_record(ScoreTable, path, "mosdeploy evaluate")
    assert "winner" in table.subnets
    assert "winner, finetuned" not in table.subnets
    assert list(run.evaluate(("1",), beam=2).subnets) == ["front 1"]
    assert read_record(ScoreTable, path, "mosdeploy evaluate") == table


def test_scores_stay_unless_answers_change(folder: Path) -> None:
    path = folder / "mosdeploy.toml"
    edit(path, "[export]\n", "[export]\nmax_score_drop = 0.1\nscore_examples = 5\n")
    edit(path, "[workload]\n", "[workload]\nthreads = 2\n")
    progress = KeptProgress()
    table = opened(folder, progress).evaluate(("largest",))
    assert KNOWN in progress.messages
    # beside scores stands the workload of now, to which the report compares the search's
    assert table.workload is not None and table.workload.threads == 2
    edit(path, "max_decode_steps = 16", "max_decode_steps = 2")
    progress = KeptProgress()
    opened(folder, progress).evaluate(("largest",))
    assert KNOWN not in progress.messages


def test_another_language_has_scores_of_its_own(folder: Path) -> None:
    run = opened(folder)
    before = run.evaluate(("smallest",)).subnets["smallest"]
    edit(folder / "mosdeploy.toml", "[corpus]\n", '[corpus]\ntarget_lang = "zh"\n')
    (folder / "data" / "train.de").rename(folder / "data" / "train.zh")
    run = opened(folder)
    assert next(x for x in run.status().parts if x.what == "scores").state == "stale"
    after = run.evaluate(("smallest",)).subnets["smallest"]
    assert after.setup == f"{before.setup}, BLEU of sacrebleu's tokeniser zh"


def test_all_is_computed_on_as_many_threads_as_a_training_may_have(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    own = module._score_missing

    def counted(*arguments: Any) -> Any:
        counts.append(torch.get_num_threads())
        return own(*arguments)

    monkeypatch.setattr(module, "_score_missing", counted)
    with torch_threads(2):
        opened(folder).evaluate(("smallest",))
        assert torch.get_num_threads() == 2
    assert counts == [1]


def test_two_commands_at_once_keep_each_others_scores(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "scores.json").unlink()
    score = module._score

    def meanwhile(*arguments: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(module, "_score", score)
            opened(folder).evaluate(("smallest",))
        return score(*arguments)

    monkeypatch.setattr(module, "_score", meanwhile)
    assert list(opened(folder).evaluate(("largest",)).subnets) == ["largest"]
    table = read_record(ScoreTable, Workspace(folder).scores_path, "mosdeploy evaluate")
    assert set(table.subnets) == {"largest", "smallest"}


def test_one_that_writes_is_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Workspace(folder).scores_path
    monkeypatch.setattr(module, "WAIT_S", 0.2)
    with ExitStack() as held:
        held.enter_context(locked(path, MosdeployError("not held before")))
        with pytest.raises(
            MosdeployError, match=r"another `mosdeploy evaluate` has held .* for 0\.2 s"
        ):
            opened(folder).evaluate(("smallest",))
        # the other has written
        monkeypatch.setattr(module, "WAIT_S", 60.0)
        monkeypatch.setattr("mosdeploy.storage.time.sleep", lambda _: held.close())
        assert "smallest" in opened(folder).evaluate(("smallest",)).subnets
    table = read_record(ScoreTable, path, "mosdeploy evaluate")
    assert set(table.subnets) == {"largest", "smallest", "winner"}


def test_a_folder_that_cannot_be_written_fails_before_the_first_score(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_score_missing", lambda *_: pytest.fail("it was scored"))
    (folder / "scores.json").unlink()
    (folder / "scores.json").mkdir()  # root may write into any folder
    with pytest.raises(MosdeployError, match=r"scores\.json"):
        opened(folder).evaluate(("largest",))


def test_a_device_is_no_architecture(folder: Path) -> None:
    with pytest.raises(ConfigError, match="'/dev/full' is no architecture"):
        opened(folder).evaluate(("/dev/full",))


def test_without_test_examples_nothing_is_scored(folder: Path) -> None:
    edit(folder / "mosdeploy.toml", "\ntest_fraction = 0.1", "\ntest_fraction = 0.0")
    run = opened(folder)
    run.train()
    with pytest.raises(ConfigError, match="the data has no test examples"):
        run.evaluate(("largest",))


def test_a_stale_winner_is_left_out_and_said_so(folder: Path) -> None:
    edit(folder / "mosdeploy.toml", "\nsource_len = 6", "\nsource_len = 7")
    progress = KeptProgress()
    table = opened(folder, progress).evaluate()
    assert list(table.subnets) == ["largest", "smallest"]
    assert any("without the winner: " in said for said in progress.messages)
