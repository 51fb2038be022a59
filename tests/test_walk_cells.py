"""Run folders of benchmarks, without a training."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmark_scripts import benchmark_module

from mosdeploy.recipes import read_recipe


@pytest.fixture(scope="module")
def walk_cells() -> Iterator[Any]:
    with benchmark_module("walk_cells") as module:
        yield module


def test_a_folder_of_other_options_is_refused(tmp_path: Path, walk_cells: Any) -> None:
    recipe = read_recipe("tiny")
    walk_cells.write_run_file(tmp_path, recipe, {"training": {"steps": 11}})
    walk_cells.write_run_file(tmp_path, recipe, {"training": {"steps": 11}})

    with pytest.raises(SystemExit, match=r"another --dir(.|\n)*- steps = 11\n\+ steps = 12"):
        walk_cells.write_run_file(tmp_path, recipe, {"training": {"steps": 12}})

    assert "steps = 11" in (tmp_path / "mosdeploy.toml").read_text()
