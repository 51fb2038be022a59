"""Tables of examples: CSV, TSV, JSON Lines, plain lines, and datasets that others publish."""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...config.lookup import resolve_path
from ...data.text_files import DATASETS, load_published, read_text_lines
from ...errors import ConfigError
from ...record import load_json
from ...runtime.errors import InputError
from ...runtime.manifest import MAX_ANSWER
from ...runtime.texts import check_characters

TABLES = (".csv", ".tsv", ".jsonl")
NOT_READ = (".json", ".parquet", ".arrow", ".xlsx")
"""Endings of tables that nobody means as lines of text."""

MAX_CELL_CHARACTERS = 2**31 - 1
"""Python's reader takes no more on any machine; its default limit is 131,072."""

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


# -- cells


@dataclass(frozen=True, slots=True)
class Row:
    """One row: cells by column, and for messages the file and line where it begins."""

    place: str
    cells: Mapping[str, Any]

    def error(self, column: str, problem: str) -> ConfigError:
        """Return an error that names the place of a cell."""
        return ConfigError(f"{self.place}: column '{column}' {problem}")

    def cell(self, column: str) -> Any:
        """Return the content of a column."""
        if column not in self.cells:
            names = quoted(self.cells) or "none"
            raise ConfigError(f"{self.place}: no column '{column}'; the columns are: {names}")
        return self.cells[column]

    def words(self, column: str) -> tuple[str, ...]:
        """Return the list in a cell: of JSON, or words separated by spaces."""
        cell = self.cell(column)
        if isinstance(cell, str):
            return tuple(cell.split())
        if not isinstance(cell, list | tuple):
            raise self.error(column, f"holds {cell!r}, no list")
        words = tuple(" ".join(cell_text(word).split()) for word in cell)
        if not all(words):
            raise self.error(column, f"holds an empty word, number {words.index('') + 1}")
        return words

    def tags(self, column: str) -> tuple[str, ...]:
        """Return the tags in a cell as they are answered: without spaces of their own."""
        return tuple("_".join(tag.split()) for tag in self.words(column))

    def number(self, column: str) -> float:
        """Return the number in a cell."""
        cell = self.cell(column)
        number = number_of(cell)
        if math.isnan(number):
            needed = f"a number in the digits 0 to 9, of {MAX_ANSWER:g} at most and without _"
            raise self.error(column, f"holds {repr(cell)[:100]}; regression needs {needed}")
        return number


def quoted(names: Iterable[str]) -> str:
    """List names of columns for a message, so that blanks in them are seen."""
    return ", ".join(f"'{name}'" for name in names)


def cell_text(cell: Any) -> str:
    """Spell a cell as a CSV file would: a whole number without a point, `true`, `false`; nothing
    for null and NaN, which stand for missing values.
    """
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return cell if isinstance(cell, str) else json.dumps(cell)


def number_of(cell: Any) -> float:
    """Return the number in a cell; NaN if it is none, or larger than any answer of a bundle."""
    text = str(cell).strip()
    # Python takes 1_000 and any script's digits for numbers; what wrote the file need not
    if isinstance(cell, bool) or "_" in text or not text.isascii():
        return math.nan
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if abs(number) <= MAX_ANSWER else math.nan


# -- files


def read_rows(source: str, root: Path) -> Iterator[Row]:
    """Read the rows of a table, in its order."""
    if source.startswith(DATASETS):
        rows = load_published(source, f"{DATASETS}nyu-mll/glue/sst2/train")
        return (Row(f"{source}, row {i}", cells) for i, cells in enumerate(rows, start=1))
    path = resolve_path(source, root)
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return _json_lines(path) if suffix == ".jsonl" else _cells(path)
    if path.name.lower().removesuffix(".gz").endswith((*TABLES, *NOT_READ)):
        raise ConfigError(
            f"{source}: a table, but its name does not end in {', '.join(TABLES)}; unpack, convert "
            "or rename it"
        )
    return (Row(place, {LINES_COLUMN: line}) for place, line in _placed_lines(path))


def _placed_lines(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(read_text_lines(path), start=1):
        yield f"{path}, line {number}", line


def _cells(path: Path) -> Iterator[Row]:
    columns: list[str] = []
    for place, cells in (_csv if path.suffix.lower() == ".csv" else _tsv)(path):
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
        else:
            yield Row(place, dict(zip(columns, cells, strict=True)))


def _tsv(path: Path) -> Iterator[tuple[str, list[str]]]:
    for place, line in _placed_lines(path):  # a TSV knows no quotes
        yield place, line.split("\t") if line else []


def _csv(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Read each row with the place of its first line."""
    first = next(read_text_lines(path), "")
    if ";" in first and "," not in first:
        raise ConfigError(
            f"{path}, line 1: the cells are separated by ';', not by commas; save the table with "
            "commas, or with tabs as .tsv"
        )
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    # strict: else a quote that is not closed makes one cell of all rows up to the next quote
    reader = csv.reader((f"{line}\n" for line in read_text_lines(path)), strict=True)
    while True:
        place = f"{path}, line {reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise ConfigError(
                f"{place}: the row that begins here is no CSV ({error}); a cell that holds a "
                "double quote or a carriage return stands in double quotes, with its own written "
                'twice (""); or save the table as .tsv, without quoting, or as .jsonl'
            ) from error
        if cells is None:
            return
        yield place, cells


def _json_lines(path: Path) -> Iterator[Row]:
    for place, line in _placed_lines(path):
        if not line.strip():
            continue
        try:
            cells = load_json(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{place}: not JSON: {error}") from error
        if not isinstance(cells, dict):
            raise ConfigError(f'{place}: no JSON object; a line is like {{"text": ..., ...}}')
        if "\\u" in line:  # which can name half of a character
            try:
                check_characters(json.dumps(cells, ensure_ascii=False), place)
            except InputError as error:
                raise ConfigError(str(error)) from error
        yield Row(place, cells)
