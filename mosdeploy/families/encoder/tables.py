"""Tables of examples: CSV, TSV, JSON Lines, plain lines, and datasets that others publish."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...config.lookup import resolve_path
from ...data.text_files import DATASETS, load_published, read_text_lines
from ...errors import ConfigError
from ...record import load_json
from ...runtime.errors import InputError
from ...runtime.texts import check_characters

TABLES = (".csv", ".tsv", ".jsonl")
NOT_READ = (".json", ".parquet", ".arrow", ".xlsx")
"""Endings of tables that nobody means as lines of text."""

MAX_CELL_CHARACTERS = 2**31 - 1
"""What Python's reader takes at most on any machine; by itself it refuses more than 131,072."""

LINES_COLUMN = "text"
"""Name of the one column of a file of plain lines."""

GLUE_COLUMNS = (
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("premise", "hypothesis"),
    ("sentence", None),
)
"""Columns of text in GLUE's tables, for a run file that names none."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: cells by column, and for messages the file and line where it begins."""

    place: str
    cells: Mapping[str, Any]

    def cell(self, column: str) -> Any:
        """What a column holds."""
        if column not in self.cells:
            near = [name for name in self.cells if _folded(name) == _folded(column)]
            raise ConfigError(
                f"{self.place}: no column '{column}'; the columns are: "
                f"{quoted(self.cells) or 'none'}"
                + (f"; did you mean '{near[0]}'? Case and spaces count" if near else "")
            )
        return self.cells[column]


def quoted(names: Iterable[str]) -> str:
    """Names of columns for a message, so that blanks in them are seen."""
    return ", ".join(f"'{name}'" for name in names)


def _folded(name: str) -> str:
    return " ".join(name.casefold().split())


def read_rows(source: str, root: Path) -> Iterator[Row]:
    """Rows of a table, in its order."""
    if source.startswith(DATASETS):
        return _published(source)
    path = resolve_path(source, root)
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        return _json_lines(path)
    if suffix in TABLES:
        return _cells(path)
    if path.name.lower().removesuffix(".gz").endswith((*TABLES, *NOT_READ)):
        raise ConfigError(
            f"{source}: a table, but its name does not end in {', '.join(TABLES)}; unpack, convert "
            "or rename it"
        )
    return _lines(path)


def _cells(path: Path) -> Iterator[Row]:
    columns: list[str] = []
    for place, cells in _csv(path) if path.suffix.lower() == ".csv" else _tsv(path):
        if not cells:
            continue  # a blank line
        if not columns:
            columns = cells
            twice = [name for name in columns if name and columns.count(name) > 1]
            if twice:
                raise ConfigError(f"{place}: two columns are called '{twice[0]}'; rename one")
        elif len(cells) != len(columns):
            raise ConfigError(
                f"{place}: {len(cells)} cells for {len(columns)} columns ({quoted(columns)})"
            )
        elif cells == columns and len(columns) > 1:
            raise ConfigError(
                f"{place}: the names of the columns again, as where files were put one behind the "
                "other; leave this row out"
            )
        else:
            yield Row(place, dict(zip(columns, cells, strict=True)))


def _tsv(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Each line with its place; cells hold whatever is no tab."""
    for number, line in enumerate(read_text_lines(path), start=1):
        yield f"{path}, line {number}", line.split("\t") if line else []


def _csv(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Each row with the place of its first line."""
    first = next(read_text_lines(path), "")
    if ";" in first and "," not in first:
        raise ConfigError(
            f"{path}, line 1: the cells are separated by ';', not by commas; save the table with "
            "commas, or with tabs as .tsv"
        )
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    taken: list[str] = []  # lines of the row that is read

    def lines() -> Iterator[str]:
        for line in read_text_lines(path):
            taken.append(line)
            yield f"{line}\n"

    # strict: else a quote that is not closed makes one cell of all rows up to the next quote
    reader = csv.reader(lines(), strict=True)
    while True:
        place = f"{path}, line {reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            if "new-line" in str(error):
                raise ConfigError(
                    f"{place}: a cell of this row holds a carriage return: write a space in its "
                    "place, or put the cell in double quotes"
                ) from error
            raise ConfigError(
                f"{place}: the row that begins here is no CSV ({error}); a cell that holds a "
                'double quote stands in double quotes, with its own written twice (""); or save '
                "the table as .tsv, without quoting, or as .jsonl"
            ) from error
        if cells is None:
            return
        # its quotes would be read as a part of the cell; in quotes, such a cell is meant so
        spaced = [x for x in cells if x[:1].isspace() and x.lstrip().startswith('"')]
        if spaced and re.search(r'(^|,)\s+"(?!")', "\n".join(taken)):
            raise ConfigError(
                f"{place}: a cell begins with {spaced[0][:60]!r}; leave no space between the comma "
                "and the quote"
            )
        taken.clear()
        yield place, cells


def _json_lines(path: Path) -> Iterator[Row]:
    for number, line in enumerate(read_text_lines(path), start=1):
        place = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            cells = load_json(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{place}: not JSON: {error}") from error
        if not isinstance(cells, dict):
            raise ConfigError(f'{place}: no JSON object; a line is like {{"text": ..., ...}}')
        if "\\u" in line:
            _check_characters(cells, place)
        yield Row(place, cells)


def _check_characters(cells: Mapping[str, Any], place: str) -> None:
    """Make sure that UTF-8 can write what was read: JSON can name a half of a character."""
    try:
        check_characters(json.dumps(cells, ensure_ascii=False), place)
    except InputError as error:
        raise ConfigError(str(error)) from error


def _lines(path: Path) -> Iterator[Row]:
    for number, line in enumerate(read_text_lines(path), start=1):
        yield Row(f"{path}, line {number}", {LINES_COLUMN: line})


def _published(source: str) -> Iterator[Row]:
    rows = load_published(source, f"{DATASETS}nyu-mll/glue/sst2/train")
    for number, cells in enumerate(rows, start=1):
        yield Row(f"{source}, row {number}", cells)
