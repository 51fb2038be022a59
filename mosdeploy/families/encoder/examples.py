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
from .tables import GLUE_COLUMNS, LINES_COLUMN, TABLES, Row, cell_text, read_rows

Target = str | float | tuple[str, ...] | None
"""Of one example: the name of its class, its number, its tags, or nothing."""


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
    """An example with its target as the file spells it, and the file and line where it stands."""

    place: str
    example: Example
    target: Target

    @property
    def names(self) -> tuple[str, ...]:
        """Classes or tags in the target, as they are written."""
        if isinstance(self.target, tuple):
            return self.target
        return (self.target,) if isinstance(self.target, str) else ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes in the target, or the types of its tags' entities."""
        return entity_types(self.names) if isinstance(self.target, tuple) else self.names

    @property
    def key(self) -> bytes:
        """Stands for the input, case aside, in less memory than its text."""
        return text_key(self.example.line)

    @property
    def first_text(self) -> str:
        """The first text as it is compared with others."""
        return _folded(self.example.text)


def entity_types(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the tags without B- and I-."""
    return tuple(tag[2:] if tag[:2] in ("B-", "I-") else tag for tag in tags)


def text_key(line: str) -> bytes:
    """Return a digest of a text, case aside."""
    return hashlib.blake2b(_folded(line).encode(), digest_size=16).digest()


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


class ExampleReader:
    """Reads the splits of a task, held-out ones first, and counts what it drops."""

    def __init__(self, task: TaskConfig, root: Path) -> None:
        self._task = task
        self._root = root
        self._held_out = set[bytes]()  # texts that are in held-out passages
        self.dropped: Counter[str] = Counter()

    def read(self, sources: Iterable[str], split: str) -> list[Found]:
        """Read the examples of a split, one source after another."""
        task = self._task
        kept: list[Found] = []
        for source in sources:
            is_table = source.startswith(DATASETS) or source.lower().endswith(TABLES)
            if not is_table and task.kind not in AGNOSTIC:
                raise ConfigError(
                    f"task.{split} '{source}' does not end in {', '.join(TABLES)}; only embedding "
                    "and masked-lm read plain lines"
                )
            before = (len(kept), self.dropped["held_out"])
            found = self._examples(source)
            kept += found if task.passage_words is None else self._passages(found, source, split)
            if (len(kept), self.dropped["held_out"]) == before:
                where = f" whose columns are as task.where = {task.where} says"
                raise ConfigError(
                    f"task.{split} '{source}' holds no example{where if task.where else ''}"
                )
        return kept

    def _examples(self, source: str) -> Iterator[Found]:
        for row in read_rows(source, self._root):
            filters = self._task.where.items()
            if any(cell_text(row.cell(column)) != value for column, value in filters):
                self.dropped["filtered"] += 1
                continue
            found = _found(row, self._task)
            if found.example.text and found.example.text_pair != "":
                yield found
            else:
                self.dropped["empty"] += 1

    def _passages(self, examples: Iterable[Found], source: str, split: str) -> Iterator[Found]:
        """Join the texts of a source, but for held-out ones, and cut them into passages."""
        num_words = self._task.passage_words
        assert num_words is not None  # else texts stay as they are
        own = set[bytes]()
        words: list[str] = []
        for found in examples:
            if found.key in self._held_out:
                self.dropped["held_out"] += 1
                continue
            if split != "train":
                own.add(found.key)
            words += found.example.text.split()
            whole = len(words) - len(words) % num_words
            for start in range(0, whole, num_words):
                passage = " ".join(words[start : start + num_words])
                yield Found(source, Example(passage), None)
            del words[:whole]
        if words:
            yield Found(source, Example(" ".join(words)), None)
        self._held_out |= own


def _found(row: Row, task: TaskConfig) -> Found:
    if task.kind == "tagging":
        return _tagged(row, task)
    first, second = _text_columns(row, task)
    text = _text(row, first)
    if task.kind in AGNOSTIC:
        return Found(row.place, Example(text), None)
    pair = None if second is None else _text(row, second)
    is_number = task.kind == "regression"
    target = row.number(task.label) if is_number else cell_text(row.cell(task.label)).strip()
    return Found(row.place, Example(text, pair), target)


def _tagged(row: Row, task: TaskConfig) -> Found:
    words, tags = row.words(task.tokens), row.tags(task.tags)
    if len(words) != len(tags):
        raise ConfigError(
            f"{row.place}: {len(words)} words in '{task.tokens}' and {len(tags)} tags in "
            f"'{task.tags}'; each word needs one tag"
        )
    return Found(row.place, Example(" ".join(words), words=words), tags)


def _text_columns(row: Row, task: TaskConfig) -> tuple[str, str | None]:
    """Return the columns that the run file names, else those that GLUE uses."""
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
        return ""  # a missing text counts as an empty one
    if not isinstance(cell, str):
        raise ConfigError(f"{row.place}: column '{column}' holds {cell!r}, no text")
    return " ".join(cell.split())
