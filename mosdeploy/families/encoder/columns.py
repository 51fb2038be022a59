"""The task of a table, told from the names of its columns and their cells."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ...config.encoder import TaskKind
from ...errors import ConfigError
from ...runtime.texts import is_one_line
from .tables import GLUE_COLUMNS, Row, cell_text, number_of, quoted

TEXT_NAMES = ("text", "sentence", "content", "review", "message", "body", "comment", "title")
PAIR_NAMES = ("text", "text_pair")
LABEL_NAMES = ("label", "labels", "class", "category", "target", "sentiment", "score", "rating")
MAX_CLASSES = 200
"""More different values are no classes."""

MAX_NUMBERED_CLASSES = 20
"""More different numbers are measured on a scale, not classes."""

MAX_STRANGE_SHARE = 0.05
"""Fewer cells that hold no number, among numbers on a scale, are no class of their own."""


@dataclass(frozen=True)
class TaskColumns:
    """The kind of a task, its columns by their keys in [task], its labels, how many rows have each
    (of a regression, each number), and the columns that are not read.
    """

    kind: TaskKind
    columns: Mapping[str, str]
    labels: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    unread: tuple[str, ...] = ()


def task_columns(rows: Sequence[Row], text: str | None, label: str | None) -> TaskColumns:
    """Tell the task of a table."""
    first = rows[0]
    for name in (text, label):
        if name is not None:
            first.cell(name)  # raises, and names those that there are
    names = list(first.cells)
    words, tags = text or "tokens", label or "tags"
    are_lists = all(isinstance(first.cells.get(name), list | tuple) for name in (words, tags))
    if {words, tags} <= set(names) and ((words, tags) == ("tokens", "tags") or are_lists):
        return _tagging(rows, words, tags)
    texts = {"text": text} if text is not None else _text_columns(rows, label)
    rest = [name for name in names if name not in texts.values()]
    if label is None:
        only = rest[0] if len(rest) == 1 else None
        label = next((name for name in LABEL_NAMES if name in rest), only)
    if label is None:
        raise ConfigError(
            f"{first.place}: no column for the label; the columns are: {quoted(names)}. Name "
            "it with --label COLUMN; texts without labels, for vectors, are a .txt with one a line"
        )
    found = _labelled(rows, texts, label)
    is_value = label in found.counts or math.isfinite(number_of(label))
    if is_value and any(" " in name for name in texts.values()):
        raise ConfigError(
            f"{first.place}: the first line of a table names its columns, and '{label}' looks like "
            "a label; write a line like text,label before the first row"
        )
    return replace(found, unread=tuple(x for x in names if x not in found.columns.values()))


def _text_columns(rows: Sequence[Row], label: str | None) -> dict[str, str]:
    cells = rows[0].cells
    # before single texts, whose names may be one of two: QNLI has a question and a sentence
    for one, other in (*GLUE_COLUMNS, PAIR_NAMES):
        if other is not None and {one, other} <= set(cells) - {label}:
            return {"text": one, "text_pair": other}
    for name in TEXT_NAMES:
        if name in cells and name != label:
            return {"text": name}
    lengths: Counter[str] = Counter()
    for row in rows[:1000]:
        for name, cell in row.cells.items():
            if isinstance(cell, str) and name not in (label, *LABEL_NAMES):
                lengths[name] += len(cell)
    if not lengths:
        raise ConfigError(
            f"{rows[0].place}: no column holds text; the columns are: {quoted(cells)}. Name it "
            "with --text COLUMN"
        )
    return {"text": lengths.most_common(1)[0][0]}


def _labelled(rows: Sequence[Row], texts: Mapping[str, str], label: str) -> TaskColumns:
    values = _label_values(rows, label)
    counts = Counter(values)
    columns = {**texts, "label": label}
    numbers = [x for x in map(number_of, counts) if math.isfinite(x)]
    is_numeric = len(numbers) == len(counts)
    strange = [i for i, value in enumerate(values) if math.isnan(number_of(value))]
    if len(numbers) > MAX_NUMBERED_CLASSES or not all(x.is_integer() for x in numbers):
        if is_numeric:
            return TaskColumns("regression", columns, counts=counts)
        if len(strange) < MAX_STRANGE_SHARE * len(values):
            raise rows[strange[0]].error(
                label,
                f"holds '{values[strange[0]][:100]}' there, and no number in {len(strange):,} of "
                f"{len(values):,} rows; fill the numbers in, or leave these rows out",
            )
    plain = [number_of(x.replace(",", ".").replace("_", "").removesuffix("%")) for x in counts]
    if len(counts) > MAX_NUMBERED_CLASSES and all(map(math.isfinite, plain)):
        found = f"holds '{values[strange[0]]}': write numbers as in 1234.57, without commas, _ or %"
        raise rows[strange[0]].error(label, found)
    if len(counts) > MAX_CLASSES:
        raise rows[0].error(
            label,
            f"holds {len(counts):,} different values, neither numbers nor {MAX_CLASSES} classes or "
            "fewer; name the column of the label with --label",
        )
    labels = sorted(counts, key=(lambda value: (number_of(value), value)) if is_numeric else None)
    return TaskColumns("classification", columns, tuple(labels), counts)


def _label_values(rows: Sequence[Row], label: str) -> list[str]:
    """Return the label of each row; all must be there, on one line and spelled in one way."""
    for row in rows:
        if isinstance(row.cell(label), list | tuple | dict):
            raise row.error(
                label,
                "holds a list; a text has one class here: write a file for each class, or name "
                "another column with --label (of tags, name both: --text WORDS --label TAGS)",
            )
    values = [cell_text(row.cell(label)).strip() for row in rows]
    counts = Counter(values)
    spelled: dict[str, str] = {}
    for value, count in counts.most_common():
        share = f"there (in {count:,} of {len(rows):,} rows)"
        other = spelled.setdefault(" ".join(value.casefold().split()), value)
        problem = ""
        if not value:
            problem = f"is empty {share}; fill it in, or leave these rows out"
        elif not is_one_line(value):
            problem = (
                f"holds {value[:100]!r}: a label is printed as one line; write it without line "
                "breaks, tabs and control characters"
            )
        elif other != value:
            problem = (
                f"holds '{value}' {share}, and '{other}' in {counts[other]:,}; spell a label in "
                "one way, and two so that they differ in more than case and spaces"
            )
        if problem:
            raise rows[values.index(value)].error(label, problem)
    if len(counts) < 2:
        problem = f"holds '{values[0]}' in all {len(rows):,} rows; there is nothing to tell apart"
        raise rows[0].error(label, f"{problem}. Name another column with --label")
    return values


def _tagging(rows: Sequence[Row], words: str, tags: str) -> TaskColumns:
    counts: Counter[str] = Counter()
    for row in rows:
        for tag in row.tags(tags):
            if tag[:2] in ("B-", "I-"):
                counts[tag[2:]] += tag.startswith("B-")
            elif tag != "O":
                raise row.error(tags, f"holds {tag!r}; a tag is O, B-TYPE or I-TYPE")
    if not counts:
        raise rows[0].error(tags, f"holds O alone in all {len(rows):,} rows, and no B-TYPE")
    found = dict(sorted(counts.items()))
    return TaskColumns("tagging", {"tokens": words, "tags": tags}, tuple(found), found)
