"""What of a file of pairs is no pair."""

import csv
from pathlib import Path

import pytest

from mosdeploy.errors import ConfigError
from mosdeploy.families.translation.pair_files import read_aligned, read_table

PAIRS = [(f"the {i}th house", f"das Haus Nummer {i}") for i in range(20)]


def write(path: Path, rows: list[tuple[str, str]], quoting: int = csv.QUOTE_MINIMAL) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t", quoting=quoting).writerows(rows)
    return path


@pytest.mark.parametrize(
    "names", [("en", "de"), ("DE", "EN"), ("source", "Target"), ("src", "tgt"), ('"en"', '"de"')]
)
def test_a_line_of_names_is_no_translation(tmp_path: Path, names: tuple[str, str]) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("\n".join("\t".join(row) for row in [names, *PAIRS]))
    with pytest.raises(ConfigError, match=r"a\.tsv, line 1: .* name the columns, .*; remove"):
        read_table(path, ("en", "de"))
    path.write_text("\n".join("\t".join(row) for row in [*PAIRS, names]))
    assert read_table(path, ("en", "de")) == [*PAIRS, names]


def test_quotes_around_every_cell_are_no_texts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", PAIRS, csv.QUOTE_ALL)
    with pytest.raises(ConfigError, match=r"a\.tsv: 40 of 40 cells stand in double quotes, .*csv"):
        read_table(path, ("en", "de"))
    quoted = [(f'"{source}"', target) for source, target in PAIRS]
    path.write_text("\n".join("\t".join(row) for row in quoted))
    assert read_table(path, ("en", "de")) == quoted


def test_a_blank_line_at_the_end_of_one_file_is_told(tmp_path: Path) -> None:
    paths = (tmp_path / "a.en", tmp_path / "a.de")
    paths[0].write_text("one\ntwo\n")
    paths[1].write_text("eins\nzwei\n\n")
    with pytest.raises(ConfigError, match=r"de has 3; .*; the last line of .*a\.de is blank: remo"):
        read_aligned(*paths)
    paths[1].write_text("eins\n")
    with pytest.raises(ConfigError, match=r"translate line n of the other$"):
        read_aligned(*paths)
