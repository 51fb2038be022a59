"""Scripts of benchmarks/ can be imported; pages show the rows of the tables that they keep."""

import re
from pathlib import Path
from typing import Any

import pytest
from benchmark_scripts import BENCHMARKS, benchmark_module
from pages import PAGES

from mosdeploy.recipes import read_recipe

OWN = {"mosdeploy", *(path.stem for path in BENCHMARKS.glob("*.py"))}
KEPT = sorted(BENCHMARKS.glob("*.json"))


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


# -- kept tables


@pytest.fixture(scope="module")
def results() -> Any:
    with benchmark_module("results") as module:
        yield module


def plain(line: str) -> str:
    """A row of a table without emphasis and alignment."""
    return re.sub(r"\s+", " ", line.replace("**", "")).strip()


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_page_shows_the_rows_that_were_kept(results: Any, path: Path) -> None:
    shown = {
        plain(line) for page in PAGES for line in page.read_text(encoding="utf-8").splitlines()
    }
    assert path.with_suffix(".py").exists()
    for table in results.read_tables(path):
        header, _, *rows = table.markdown.splitlines()
        assert [row for row in (header, *rows) if plain(row) not in shown] == [], table.label
        assert table.command.startswith(f"python benchmarks/{path.stem}.py")
        assert table.versions and table.processor


def test_kept_tables_are_few_lines() -> None:
    lines = [line for path in KEPT for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(lines) < 5000


def test_a_table_takes_the_place_of_the_one_with_its_label(
    results: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(results, "__file__", str(tmp_path / "results.py"))
    monkeypatch.setattr("sys.argv", ["benchmarks/dropout.py", "--json"])
    for label, figure in (("", "1"), ("late", "2"), ("", "3")):
        options = type("Options", (), {"json": True, "label": label})
        results.finish(options, ["torch", "no-such-package"], ["a", "b"], [["x", figure]], [7])
    found = results.read_tables(tmp_path / "dropout.json")
    assert [(table.label, table.rows[0][1]) for table in found] == [("late", "2"), ("", "3")]
    assert found[0].seeds == (7,) and found[0].versions["no-such-package"] == "-"
    assert found[0].command == "python benchmarks/dropout.py --json"
    assert '\n    ["x", "3"]' in (tmp_path / "dropout.json").read_text()
    assert "| x | 3 |" in capsys.readouterr().out


def test_the_spread_is_that_of_several_values(results: Any) -> None:
    assert results.spread([1.0, 2.0, 3.0], 1, "+") == "+2.0 ± 1.0"
    assert results.spread([1.0], 2) == "1.00"


# -- run folders of benchmarks


@pytest.fixture(scope="module")
def walk_cells() -> Any:
    with benchmark_module("walk_cells") as module:
        yield module


def test_cells_of_other_options_are_refused(
    walk_cells: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    walk_cells.check_options(tmp_path, steps=3, rates=(0.5, 1.0))
    walk_cells.check_options(tmp_path, steps=3, rates=(0.5, 1.0))
    walk_cells.check_options(tmp_path, seed=1)
    for options, message in (({"steps": 4}, "steps = 3, and 4 is"), ({"seed": 2}, "seed = 1")):
        with pytest.raises(SystemExit, match=f"has cells with {message}"):
            walk_cells.check_options(tmp_path, **options)
    (tmp_path / "old" / "cells").mkdir(parents=True)
    walk_cells.check_options(tmp_path / "old", steps=3)
    assert "what stands there is taken as made with steps = 3" in capsys.readouterr().err


def test_a_folder_of_another_run_file_is_refused(walk_cells: Any, tmp_path: Path) -> None:
    recipe = read_recipe("tiny")
    walk_cells.write_run_file(tmp_path, recipe, {"training": {"steps": 11}})
    walk_cells.write_run_file(tmp_path, recipe, {"training": {"steps": 11}})
    with pytest.raises(SystemExit, match=r"another --dir(.|\n)*- steps = 11\n\+ steps = 12"):
        walk_cells.write_run_file(tmp_path, recipe, {"training": {"steps": 12}})
    assert "steps = 11" in (tmp_path / "mosdeploy.toml").read_text()


def test_losses_are_grouped_by_size_and_ranked(walk_cells: Any) -> None:
    seeds = [{"largest": 1.0, "smallest": 4.0, "random 1": 2.0, "random 2": 3.0}] * 2
    assert walk_cells.group_means(seeds, 1) == ["1.0 ± 0.0", "4.0 ± 0.0", "2.5 ± 0.0"]
    assert walk_cells.mean_tau(seeds, seeds) == 1.0
    turned = [{name: -loss for name, loss in losses.items()} for losses in seeds]
    assert walk_cells.mean_tau(seeds, turned) == -1.0
