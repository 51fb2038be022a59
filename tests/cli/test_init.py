"""`mosdeploy init`."""

import json
from pathlib import Path

import pytest
from command_line import mosdeploy

from mosdeploy.pipeline.init import init
from mosdeploy.pipeline.run import open_run
from mosdeploy.recipes import list_recipes


def test_a_run_file_is_written_once(tmp_path: Path) -> None:
    first = mosdeploy("init", "--device", "rpi", cwd=tmp_path)
    assert first.returncode == 0
    assert "next: mosdeploy train" in first.stderr
    assert 'device = "rpi"' in (tmp_path / "mosdeploy.toml").read_text()
    second = mosdeploy("init", cwd=tmp_path)
    assert second.returncode == 3
    assert "exists already" in second.stderr


def test_json_names_the_file_that_was_written(tmp_path: Path) -> None:
    done = mosdeploy("init", "--dir", "run", "--json", cwd=tmp_path)
    assert (tmp_path / json.loads(done.stdout)["path"]).exists()
    assert done.stderr == ""


@pytest.mark.parametrize("recipe", list_recipes())
def test_every_recipe_is_a_valid_run_file(tmp_path: Path, recipe: str) -> None:
    init(tmp_path, recipe, None)
    assert open_run(tmp_path).config.space.num_architectures > 500


def test_recipes_of_0_1_0_are_there() -> None:
    known = {"tiny", "wmt14.en-de", "wmt14.en-fr", "wmt19.en-de", "iwslt14.de-en"}
    assert known <= set(list_recipes())
