"""What stands behind a trained run: which architecture a name means, and what is stale."""

import json
from pathlib import Path

import numpy as np
import pytest
from walking import damage, opened

from mosdeploy.errors import ArchError, ConfigError, StaleInputError
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import trained_run


def test_a_name_means_an_architecture(walked: Path, tmp_path: Path) -> None:
    state = trained_run(open_run(walked))
    space = state.config.space
    assert state.arch("largest") == space.largest
    assert state.arch("smallest") == space.smallest
    with pytest.raises(ConfigError, match="'' is no architecture: write winner, largest"):
        state.arch("")
    assert state.arch("winner") == state.search_result().winner.arch
    drawn = space.sample(np.random.default_rng(3))
    path = tmp_path / "arch.json"
    path.write_text(drawn.model_dump_json())
    assert state.arch(str(path)) == drawn


def test_a_wrong_name_is_refused_before_anything_is_answered(walked: Path) -> None:
    with pytest.raises(ConfigError, match="'larges' is no architecture: write winner"):
        opened(walked).evaluate(("largest", "larges"))


def test_an_architecture_outside_the_space_is_named(folder: Path) -> None:
    run = opened(folder)
    data = json.loads(run.config.space.largest.model_dump_json())
    data["encoder_embed_dim"] = 24
    path = folder / "arch.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ArchError, match=r"encoder_embed_dim is 24, allowed: \[16, 32\]"):
        run.export(str(path))


@pytest.mark.parametrize(
    ("name", "verb", "part"),
    [
        ("supernet/supernet.safetensors", "search", "mosdeploy train"),
        ("supernet/supernet.json", "search", "mosdeploy train"),
        ("predictors/local-sentence/latency.jsonl", "profile", r"latency\.jsonl, line 1"),
        ("search/quality.jsonl", "search", r"quality\.jsonl, line 1"),
        ("search/result.json", "export", "mosdeploy search"),
    ],
)
def test_a_corrupt_file_is_named_with_its_verb(
    folder: Path, name: str, verb: str, part: str
) -> None:
    damage(folder / name)
    run = opened(folder)
    verbs = {
        "search": lambda: run.search("9s"),
        "profile": lambda: run.profile(budget=14),
        "export": run.export,
    }
    with pytest.raises(StaleInputError, match=part) as caught:
        verbs[verb]()
    assert Path(name).name in str(caught.value)


def test_validation_examples_are_drawn_from_the_whole_set(walked: Path) -> None:
    state = trained_run(open_run(walked))
    whole, drawn, again = (state.validation_set(size) for size in (len(state.data.valid), 8, 8))
    everything = [tuple(row) for row in whole.targets]
    rows = [everything.index(tuple(row)) for row in drawn.targets]
    assert len(rows) == 8
    assert rows == sorted(rows)  # in the file's order
    assert max(rows) >= 8  # and not its first ones
    assert [tuple(row) for row in again.targets] == [tuple(row) for row in drawn.targets]
