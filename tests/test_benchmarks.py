"""The scripts in benchmarks/ can be imported, and refuse cells made with other options."""

from pathlib import Path

import pytest
from benchmark_scripts import BENCHMARKS, benchmark_module

OWN = {"mosdeploy", *(path.stem for path in BENCHMARKS.glob("*.py"))}


@pytest.mark.parametrize("name", sorted(path.stem for path in BENCHMARKS.glob("*.py")))
def test_a_script_finds_what_it_imports(name: str) -> None:
    try:
        with benchmark_module(name) as module:
            assert module.__doc__
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in OWN:
            raise
        pytest.skip(f"{package} is not installed: pip install 'mosdeploy[bench]'")


def test_cells_of_other_options_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with benchmark_module("walk_cells") as cells:
        cells.check_options(tmp_path, steps=3, rates=(0.5, 1.0))
        cells.check_options(tmp_path, steps=3, rates=(0.5, 1.0))
        cells.check_options(tmp_path, seed=1)
        for options, message in (({"steps": 4}, "steps = 3, and 4 is"), ({"seed": 2}, "seed = 1")):
            with pytest.raises(SystemExit, match=f"has cells with {message}"):
                cells.check_options(tmp_path, **options)
        (tmp_path / "old" / "cells").mkdir(parents=True)
        cells.check_options(tmp_path / "old", steps=3)
        assert "what stands there is taken as made with steps = 3" in capsys.readouterr().err


def test_a_result_with_a_label_stands_beside_the_other() -> None:
    with benchmark_module("provenance") as module:
        names = [module.result_path("ranking", label).name for label in ("", "seed2")]
        assert names == ["ranking.json", "ranking-seed2.json"]
        assert module.result_path("ranking", "").parent == BENCHMARKS
