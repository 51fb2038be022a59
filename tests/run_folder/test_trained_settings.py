"""What a supernet was trained with: every key that counts, and in which it is another one now."""

import json
from pathlib import Path
from typing import Any

import pytest
from walking import KeptProgress, edit, make_run_folder, opened

from mosdeploy.config import RunConfig, load_recipe
from mosdeploy.errors import StaleInputError
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import trained_run
from mosdeploy.run_folder.trained_settings import (
    because,
    names_data,
    setting_differences,
    trained_settings,
)
from mosdeploy.storage import fingerprint
from mosdeploy.workspace import Workspace


def fingerprinted(config: RunConfig) -> str:
    return fingerprint(config.space, config.supernet, config.training.fingerprinted)


@pytest.mark.parametrize("recipe", ["tiny", "minilm-l6"])
@pytest.mark.parametrize(
    "change",
    [
        {"steps": 7},
        {"sandwich": "none"},
        {"weight_decay": 0.5},
        {"adam_betas": (0.5, 0.5)},
        {"threads": 64},
        {"log": "tensorboard"},
    ],
)
def test_a_key_differs_where_the_fingerprint_does(recipe: str, change: dict[str, Any]) -> None:
    then = load_recipe(recipe)
    now = then.model_copy(update={"training": then.training.model_copy(update=change)})
    kept = json.loads(json.dumps(trained_settings(then)))
    assert setting_differences(kept, then) == []
    found = setting_differences(kept, now)
    assert bool(found) == (fingerprinted(then) != fingerprinted(now))
    assert all(x.startswith(f"training.{next(iter(change))} was ") for x in found)


def test_differences_are_told_with_both_values() -> None:
    then = load_recipe("tiny")
    training = then.training.model_copy(update={"steps": 7, "amp": "bf16"})
    kept = {**trained_settings(then), "training.steps": 9, "training.amp": None, "space.gone": [1]}
    found = setting_differences(kept, then.model_copy(update={"training": training}))
    assert sorted(found) == [
        "space.gone was [1], is unset now",
        'training.amp was unset, is "bf16" now',
        "training.steps was 9, is 7 now",
    ]
    assert setting_differences(kept, then, "space") == ["space.gone was [1], is unset now"]
    assert setting_differences(None, then) == []
    assert because([]) == ""
    assert because(["a", "b"]) == ": a, b"


def test_what_the_digest_of_the_data_covers_is_named_too() -> None:
    then = load_recipe("minilm-l6")
    teacher = then.teacher.model_copy(update={"temperature": 2.0, "path": "elsewhere"})
    now = then.model_copy(update={"teacher": teacher})
    found = setting_differences(trained_settings(then), now)
    assert found == ["teacher.temperature was 1.0, is 2.0 now"]
    assert names_data(found, now)
    assert not names_data(["training.steps was 1, is 2 now"], now)


def test_a_key_that_came_after_the_record_differs_where_it_is_set() -> None:
    config = load_recipe("tiny")
    before = trained_settings(config)
    assert before.pop("training.num_winners") == 1
    assert setting_differences(before, config) == []
    training = config.training.model_copy(update={"num_winners": 2})
    found = setting_differences(before, config.model_copy(update={"training": training}))
    assert found == ["training.num_winners was 1, is 2 now"]


def test_a_supernet_of_another_configuration_names_the_keys(folder: Path) -> None:
    edit(folder / "mosdeploy.toml", "\nsteps = 12", "\nsteps = 3")
    edit(folder / "mosdeploy.toml", "warmup_steps = 4", 'warmup_steps = 4\nschedule = "linear"')
    with pytest.raises(
        StaleInputError,
        match=r"trained from: training\.steps was 12, is 3 now, "
        r'training\.schedule was "cosine", is "linear" now; restore it',
    ):
        trained_run(open_run(folder)).data  # noqa: B018
    edit(folder / "mosdeploy.toml", "decoder_layers = [1, 2]", "decoder_layers = [1]")
    with pytest.raises(StaleInputError, match=r"space\.decoder_layers was \[1, 2\], is \[1\] now;"):
        open_run(folder).supernet_card()


def test_a_card_without_the_keys_is_taken_as_before(folder: Path) -> None:
    path = Workspace(folder).supernet_card_path
    card = json.loads(path.read_text())
    del card["settings"]
    path.write_text(json.dumps(card))
    assert trained_run(open_run(folder)).data.train
    edit(folder / "mosdeploy.toml", "\nsteps = 12", "\nsteps = 3")
    with pytest.raises(StaleInputError, match="was trained from; restore it"):
        trained_run(open_run(folder)).data  # noqa: B018


@pytest.mark.slow
def test_a_stopped_training_that_is_refused_names_the_keys(tmp_path: Path) -> None:
    root = make_run_folder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        opened(root, KeptProgress(stop_at=5)).train()
    edit(root / "mosdeploy.toml", "\nsteps = 12", "\nsteps = 3")
    with pytest.raises(StaleInputError, match=r"\(training\.steps was 12, is 3 now\)$"):
        opened(root).train()
    edit(root / "mosdeploy.toml", "\nsteps = 3", "\nsteps = 12")
    assert opened(root).train().steps == 12
