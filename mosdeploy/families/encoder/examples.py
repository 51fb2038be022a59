"""Examples as the files of a task hold them: texts, pairs of texts or words, and their targets."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...config.encoder import AGNOSTIC, TaskConfig
from ...data.text_files import DATASETS
from ...errors import ConfigError
from .passages import passages
from .tables import GLUE_COLUMNS, LINES_COLUMN, TABLES, Row, read_rows
from .targets import PlacedTarget, Target, cell_number, cell_text, cell_words, joined_tag


@dataclass(frozen=True, slots=True)
class Example:
    """One example; white space in its texts is single spaces."""

    text: str
    text_pair: str | None = None
    words: tuple[str, ...] = ()
    tags: tuple[int, ...] = ()
    label: float | None = None

    @property
    def line(self) -> str:
        """The input on one line: a pair is separated by a tab."""
        return self.text if self.text_pair is None else f"{self.text}\t{self.text_pair}"


@dataclass(frozen=True, slots=True)
class Found:
    """An example whose target is as the file says it."""

    place: str
    example: Example
    target: Target

    @property
    def placed(self) -> PlacedTarget:
        return PlacedTarget(self.place, self.target)


def text_key(line: str) -> bytes:
    """Stands for an input, case aside, in less memory than its text."""
    return hashlib.blake2b(folded(line).encode(), digest_size=16).digest()


def folded(text: str) -> str:
    """A text as it is compared with others."""
    return unicodedata.normalize("NFKC", text).casefold()


def read_examples(
    sources: Iterable[str],
    split: str,
    task: TaskConfig,
    root: Path,
    dropped: Counter[str],
    held_out: set[bytes],
) -> list[Found]:
    """Read the examples of a split, one source after another; texts that are empty and rows that
    `task.where` leaves out are counted.
    """
    kept: list[Found] = []
    for source in sources:
        _check_source(source, split, task)
        before = (len(kept), dropped["held_out"])
        kept += _read_source(source, split, task, root, dropped, held_out)
        if (len(kept), dropped["held_out"]) == before:
            raise ConfigError(
                f"task.{split} '{source}' holds no example"
                + (f" whose columns are as task.where = {task.where} says" if task.where else "")
            )
    return kept


def _read_source(
    source: str,
    split: str,
    task: TaskConfig,
    root: Path,
    dropped: Counter[str],
    held_out: set[bytes],
) -> Iterator[Found]:
    found = _examples(source, task, root, dropped)
    if task.passage_words is None:
        yield from found
        return
    own = set[bytes]()

    def texts() -> Iterator[str]:
        for each in found:
            text = each.example.text
            if held_out and text_key(text) in held_out:
                dropped["held_out"] += 1
                continue
            if split != "train":
                own.add(text_key(text))
            yield text

    for text in passages(texts(), task.passage_words):
        yield Found(source, Example(text), None)
    held_out |= own


def _examples(source: str, task: TaskConfig, root: Path, dropped: Counter[str]) -> Iterator[Found]:
    for row in read_rows(source, root):
        if any(cell_text(row.cell(column)) != value for column, value in task.where.items()):
            dropped["filtered"] += 1
            continue
        found = _found(row, task)
        if found.example.text and found.example.text_pair != "":
            yield found
        else:
            dropped["empty"] += 1


def _check_source(source: str, split: str, task: TaskConfig) -> None:
    """Plain lines have no labels, and what has none is learned of single texts."""
    is_table = source.startswith(DATASETS) or source.lower().endswith(TABLES)
    if task.kind in AGNOSTIC:
        if task.text_pair is not None:
            raise ConfigError(f"task.text_pair: {task.kind} reads single texts; leave it out")
    elif not is_table:
        raise ConfigError(
            f"task.{split} '{source}' does not end in {', '.join(TABLES)}; only embedding and "
            "masked-lm read plain lines"
        )


def _found(row: Row, task: TaskConfig) -> Found:
    if task.kind == "tagging":
        return _tagged(row, task)
    first, second = _text_columns(row, task)
    text = _text(row, first)
    if task.kind in AGNOSTIC:
        return Found(row.place, Example(text), None)
    pair = None if second is None else _text(row, second)
    cell = row.cell(task.label)
    target: Target
    if task.kind == "regression":
        target = cell_number(cell, row.place, task.label)
    else:
        target = cell_text(cell).strip()
    return Found(row.place, Example(text, pair), target)


def _tagged(row: Row, task: TaskConfig) -> Found:
    words, tags = (
        cell_words(row.cell(column), row.place, column) for column in (task.tokens, task.tags)
    )
    if len(words) != len(tags):
        raise ConfigError(
            f"{row.place}: {len(words)} words in '{task.tokens}' and {len(tags)} tags in "
            f"'{task.tags}'; each word needs one tag"
        )
    names = tuple(joined_tag(tag) for tag in tags)
    return Found(row.place, Example(" ".join(words), words=words), names)


def _text_columns(row: Row, task: TaskConfig) -> tuple[str, str | None]:
    """The columns that the run file names, else those that GLUE uses."""
    if not {"text", "text_pair"} & task.model_fields_set and task.text not in row.cells:
        for first, second in GLUE_COLUMNS:
            if first in row.cells and (second is None or second in row.cells):
                return first, second
    if set(row.cells) == {LINES_COLUMN}:
        return LINES_COLUMN, None
    return task.text, task.text_pair


def _text(row: Row, column: str) -> str:
    cell = row.cell(column)
    if not cell_text(cell):
        return ""  # a missing one as one of no words
    if not isinstance(cell, str):
        raise ConfigError(f"{row.place}: column '{column}' holds {cell!r}, no text")
    return " ".join(cell.split())
