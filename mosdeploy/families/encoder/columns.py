"""What the columns of a table hold: told from their names and their cells."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ...config.encoder import TaskKind
from ...errors import ConfigError
from ...runtime.texts import is_one_line
from .tables import GLUE_COLUMNS, Row, quoted
from .targets import cell_text, cell_words, joined_tag, number_of

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
    """What [task] says of a table: the kind, the columns by their keys, the labels, how many rows
    have each (of a regression, each number), and which columns are not read.
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
    words = text or "tokens"
    tags = label or "tags"
    are_lists = [isinstance(first.cells.get(name), list | tuple) for name in (words, tags)]
    if {words, tags} <= set(names) and ((words, tags) == ("tokens", "tags") or all(are_lists)):
        return _tagging(rows, words, tags)
    texts = {"text": text} if text is not None else _text_columns(rows, label)
    rest = [name for name in names if name not in texts.values()]
    if label is None:
        label = next((name for name in LABEL_NAMES if name in rest), None)
    if label is None and len(rest) == 1:
        label = rest[0]
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
    for row in rows:
        if isinstance(row.cell(label), list | tuple | dict):
            raise ConfigError(
                f"{row.place}: column '{label}' holds a list; a text has one class here: write a "
                "file for each class, with the labels yes and no, or name another column with "
                "--label; tags of words stand beside a list of words: name both, with --text "
                "WORDS --label TAGS"
            )
    values = [cell_text(row.cell(label)).strip() for row in rows]
    counts = Counter(values)
    columns = {**texts, "label": label}
    _check_values(rows, values, label)
    numbers = [x for x in map(number_of, counts) if math.isfinite(x)]
    is_numeric = len(numbers) == len(counts)
    if len(numbers) > MAX_NUMBERED_CLASSES or not all(x.is_integer() for x in numbers):
        _check_strange(rows, values, label)
        if is_numeric:
            return TaskColumns("regression", columns, counts=counts)
    plain = [
        number_of(value.replace(",", ".").replace("_", "").removesuffix("%")) for value in counts
    ]
    if len(counts) > MAX_NUMBERED_CLASSES and all(map(math.isfinite, plain)):
        place = next(i for i, value in enumerate(values) if math.isnan(number_of(value)))
        raise ConfigError(
            f"{rows[place].place}: column '{label}' holds '{values[place]}': write numbers as in "
            "1234.57, with a point and without commas, _ or %"
        )
    if len(counts) > MAX_CLASSES:
        raise ConfigError(
            f"{rows[0].place}: column '{label}' holds {len(counts):,} different values, neither "
            f"numbers nor {MAX_CLASSES} classes or fewer; name the column of the label with --label"
        )
    labels = sorted(counts, key=(lambda value: (number_of(value), value)) if is_numeric else None)
    return TaskColumns("classification", columns, tuple(labels), counts)


def _check_values(rows: Sequence[Row], values: Sequence[str], label: str) -> None:
    """Make sure that all rows have a label, which is one line and is written in one way."""
    counts = Counter(values)
    broken = next((i for i, value in enumerate(values) if not is_one_line(value)), None)
    if broken is not None:
        raise ConfigError(
            f"{rows[broken].place}: column '{label}' holds {values[broken][:100]!r}: a label is "
            "printed as one line; write it without line breaks, tabs and control characters"
        )
    if counts[""]:
        first = rows[values.index("")].place
        raise ConfigError(
            f"{first}: column '{label}' is empty there, as in {counts['']:,} of {len(rows):,} "
            "rows; fill the labels in, or leave these rows out"
        )
    if len(counts) < 2:
        raise ConfigError(
            f"{rows[0].place}: column '{label}' holds '{next(iter(counts))}' in all {len(rows):,} "
            "rows; there is nothing to tell apart. Name another column with --label"
        )
    written: dict[str, str] = {}
    for value, count in counts.most_common():
        other = written.setdefault(" ".join(value.casefold().split()), value)
        if other != value:
            raise ConfigError(
                f"{rows[values.index(value)].place}: column '{label}' holds '{value}' there (in "
                f"{count:,} of {len(rows):,} rows), and '{other}' in {counts[other]:,}; write a "
                "label in one way, and two so that they differ in more than case and spaces"
            )


def _check_strange(rows: Sequence[Row], values: Sequence[str], label: str) -> None:
    """Make sure that a few cells do not make classes of numbers on a scale."""
    strange = [i for i, value in enumerate(values) if not math.isfinite(number_of(value))]
    if 0 < len(strange) < MAX_STRANGE_SHARE * len(values):
        first = strange[0]
        raise ConfigError(
            f"{rows[first].place}: column '{label}' holds '{values[first][:100]}' there, and no "
            f"number in {len(strange):,} of {len(values):,} rows; fill the numbers in, or leave "
            "these rows out (if the numbers stand for classes, write them as words)"
        )


def _tagging(rows: Sequence[Row], words: str, tags: str) -> TaskColumns:
    counts: Counter[str] = Counter()
    for row in rows:
        for tag in cell_words(row.cell(tags), row.place, tags):
            if not (tag == "O" or tag[:2] in ("B-", "I-")):
                raise ConfigError(
                    f"{row.place}: column '{tags}' holds {tag!r}; a tag is O, B-TYPE or I-TYPE"
                )
            counts[joined_tag(tag)[2:]] += tag.startswith("B-")
    del counts[""]
    if not counts:
        raise ConfigError(
            f"{rows[0].place}: column '{tags}' holds O alone in all {len(rows):,} rows; the first "
            "word of an entity has the tag B-TYPE"
        )
    found = dict(sorted(counts.items()))
    return TaskColumns("tagging", {"tokens": words, "tags": tags}, tuple(found), found)
