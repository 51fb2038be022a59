"""Encoders of every kind, from the data to the answer on the device, and back after a kill."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoder_walking import make_encoder_folder
from walking import edit, opened

import mosdeploy
from mosdeploy.errors import InfeasibleError, MosdeployError, StaleInputError
from mosdeploy.pipeline.demo import design_by_hand, hand_designed_path
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.run import open_run

KINDS = [
    pytest.param(kind, marks=pytest.mark.slow)
    for kind in ("classification", "regression", "tagging", "embedding")
]


@pytest.fixture(scope="module", params=KINDS)
def walked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    steps = "200" if request.param in ("classification", "tagging") else "80"  # of the teacher
    folder = tmp_path_factory.mktemp("walk") / request.param
    root = make_encoder_folder(folder, request.param, steps=steps)
    run = opened(root)
    results: dict[str, Any] = {
        "card": run.train(),
        "profile": run.profile(),
        "search": run.search("10s"),
        "finetune": run.finetune(),
        "scores": run.evaluate(),
        "export": run.export(),
        "deploy": run.deploy(),
        "report": run.report(),
    }
    return request.param, run, results


def test_each_verb_does_its_part(walked: Any) -> None:
    kind, _, results = walked
    scores = results["scores"].subnets
    assert {"largest", "smallest", "winner", "teacher"} <= set(scores)
    assert results["search"].winner.measured_ms is not None
    assert results["export"].manifest.family == "encoder"
    assert results["deploy"].self_test_passed
    page = Path(results["report"].page).read_text()
    assert next(iter(scores["winner"].metrics)) in page
    first = {"classification": "accuracy", "regression": "Pearson", "tagging": "F1"}
    if kind in first:
        # the word that decides is there to be found, and the teacher finds it
        assert scores["teacher"].metrics[first[kind]] > 80


def test_the_bundle_answers_lines(walked: Any) -> None:
    kind, run, _ = walked
    answers = run.predict(["the film is bright", "it was dull and long"])
    assert len(answers) == 2
    if kind == "classification":
        assert answers == ["good", "bad"]
    if kind == "regression":
        assert float(answers[0]) > float(answers[1])
    if kind == "tagging":
        assert "B-GOOD" in answers[0] and "B-BAD" in answers[1]
    if kind == "embedding":
        vectors = [np.array(json.loads(answer)) for answer in answers]
        assert [v.shape for v in vectors] == [(16,), (16,)]
        assert np.allclose([np.linalg.norm(v) for v in vectors], 1.0, atol=1e-2)


def test_a_walked_folder_is_left_as_it_is(walked: Any) -> None:
    _, run, results = walked
    files = {path: path.stat().st_mtime_ns for path in run.root.glob("teacher/*/*")}
    assert run.train() == results["card"]
    assert run.search("10s") == results["search"]
    assert run.finetune() == results["finetune"]
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_both_starts_are_tried_and_the_better_is_kept(walked: Any) -> None:
    _, run, results = walked
    cards = [json.loads(path.read_text()) for path in (run.root / "subnets").glob("*/subnet.json")]
    assert {card["weights"] for card in cards} == {"finetuned", "from-teacher"}
    assert results["finetune"].loss == min(card["loss"] for card in cards)


def test_the_network_designed_by_hand_keeps_the_limit(walked: Any) -> None:
    _, run, results = walked
    context = Context(open_run(run.root))
    winner = results["search"].winner.arch
    picked = design_by_hand(context, "local", 1e9, winner)
    # all of them keep this limit, so the slowest, no faster than the teacher's own, is taken
    assert picked.measured_ms >= picked.teacher_ms
    assert len(set(picked.arch.layers)) == 1  # type: ignore[attr-defined]
    scores = run.evaluate((str(hand_designed_path(context)),)).subnets
    assert {"hand-designed", "hand-designed, from-teacher", "teacher"} <= set(scores)
    with pytest.raises(InfeasibleError, match=r"keeps 0\.000000001 ms"):
        design_by_hand(context, "local", 1e-9, winner)


def test_a_winner_that_a_person_would_design_is_not_trained_again(walked: Any) -> None:
    _, run, results = walked
    context = Context(open_run(run.root))
    picked = design_by_hand(context, "local", 1e9, results["search"].winner.arch).arch
    run.finetune(str(hand_designed_path(context)))  # as a winner is
    trained = {x: x.stat().st_mtime_ns for x in run.root.glob("subnets/*/subnet.safetensors")}
    assert any(picked.key in str(x) and "from-teacher" in str(x) for x in trained)
    assert design_by_hand(context, "local", 1e9, picked).arch == picked
    assert {x: x.stat().st_mtime_ns for x in trained} == trained


def test_damaged_outputs_of_the_teacher_are_made_again(walked: Any) -> None:
    _, run, results = walked
    kept = sorted(run.root.glob("teacher/*/outputs-*.npz"))
    before = [path.read_bytes() for path in kept]
    for path in kept:
        path.write_bytes(path.read_bytes()[:100])
    (run.root / "scores.json").unlink()  # what is scored already reads no outputs
    assert run.evaluate().subnets["teacher"] == results["scores"].subnets["teacher"]
    again = [path.read_bytes() for path in kept if path.stat().st_size > 100]
    assert again and set(again) <= set(before)


@pytest.mark.slow
def test_a_language_model_is_trained_without_labels(tmp_path: Path) -> None:
    run = opened(make_encoder_folder(tmp_path / "run", "masked-lm"))
    card = run.train()
    assert card.largest_loss < np.log(60)  # better than guessing one of 60 pieces
    with pytest.raises(MosdeployError, match="masked-lm"):
        run.export(pick="largest")


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [10, 30, 45])
def test_a_killed_training_goes_on(tmp_path: Path, stop_at: int) -> None:
    """Of the 40 steps of the teacher and the 12 of the supernet."""

    class Stopper:
        steps = 0

        def update(self, stage: str, done: int, total: int, note: str = "") -> None:
            Stopper.steps += stage in ("teacher", "train")
            if Stopper.steps == stop_at:
                raise KeyboardInterrupt

        def say(self, message: str) -> None:
            pass

    whole = opened(make_encoder_folder(tmp_path / "whole", "classification")).train()
    root = make_encoder_folder(tmp_path / "killed", "classification")
    with pytest.raises(KeyboardInterrupt):
        mosdeploy.open_run(root, progress=Stopper()).train()
    again = opened(root).train()
    assert again.supernet_sha256 == whole.supernet_sha256


@pytest.mark.slow
def test_a_changed_key_of_the_data_is_told_by_finetune_too(tmp_path: Path) -> None:
    root = make_encoder_folder(tmp_path / "run", "classification")
    opened(root).train()
    edit(root / "mosdeploy.toml", "max_tokens = 24", "max_tokens = 16")
    with pytest.raises(StaleInputError, match="max_tokens was 24, is 16 now"):
        opened(root).finetune("smallest")
