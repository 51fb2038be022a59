"""The data of a task: its examples in three splits, with classes and tags as numbers."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from ...config.encoder import AGNOSTIC, EncoderRunConfig, TaskConfig
from ...data.text_files import DATASETS, check_filled, split_by_hash, split_shares, without
from ...errors import ConfigError
from ...family import TaskData
from ...storage import fingerprint, sha256_file
from .checkpoint_files import FILES, resolve_folder
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
        if not isinstance(self.target, tuple):
            return self.names
        return tuple(tag[2:] if tag[:2] in ("B-", "I-") else tag for tag in self.target)

    @property
    def key(self) -> bytes:
        """Stands for the input, case aside, in less memory than its text."""
        return hashlib.blake2b(_folded(self.example.line).encode(), digest_size=16).digest()

    @property
    def first_text(self) -> str:
        """The first text as it is compared with others."""
        return _folded(self.example.text)


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
        kept: list[Found] = []
        for source in sources:
            is_table = source.startswith(DATASETS) or source.lower().endswith(TABLES)
            if not is_table and self._task.kind not in AGNOSTIC:
                raise ConfigError(
                    f"task.{split} '{source}' does not end in {', '.join(TABLES)}; only embedding "
                    "and masked-lm read plain lines"
                )
            before = (len(kept), self.dropped["held_out"])
            found = self._examples(source)
            kept += self._passages(found, source, split) if self._task.passage_words else found
            if (len(kept), self.dropped["held_out"]) == before:
                where = self._task.where and f" where task.where = {self._task.where}"
                raise ConfigError(f"task.{split} '{source}' holds no example{where or ''}")
        return kept

    def _examples(self, source: str) -> Iterator[Found]:
        where = self._task.where.items()
        for row in read_rows(source, self._root):
            if any(cell_text(row.cell(column)) != value for column, value in where):
                self.dropped["filtered"] += 1
                continue
            found = read_example(row, self._task)
            if found.example.text and found.example.text_pair != "":
                yield found
            else:
                self.dropped["empty"] += 1

    def _passages(self, examples: Iterable[Found], source: str, split: str) -> Iterator[Found]:
        """Join the texts of a source, but for held-out ones, and cut them into passages."""
        num_words = self._task.passage_words or 1
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
                yield Found(source, Example(" ".join(words[start : start + num_words])), None)
            del words[:whole]
        if words:
            yield Found(source, Example(" ".join(words)), None)
        self._held_out |= own


def read_example(row: Row, task: TaskConfig) -> Found:
    """Read the example of a row, with its target as it is spelled there."""
    if task.kind == "tagging":
        words, tags = row.words(task.tokens), row.tags(task.tags)
        if len(words) != len(tags):
            raise ConfigError(
                f"{row.place}: {len(words)} words in '{task.tokens}' and {len(tags)} tags in "
                f"'{task.tags}'; each word needs one tag"
            )
        return Found(row.place, Example(" ".join(words), words=words), tags)
    first, second = _text_columns(row, task)
    has_pair = second is not None and task.kind not in AGNOSTIC
    example = Example(_text(row, first), _text(row, str(second)) if has_pair else None)
    target: Target = None
    if task.kind == "regression":
        target = row.number(task.label)
    elif task.kind == "classification":
        target = cell_text(row.cell(task.label)).strip()
    return Found(row.place, example, target)


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
        raise row.error(column, f"holds {cell!r}, no text")
    return " ".join(cell.split())


# -- splits


@dataclass(frozen=True)
class EncoderData(TaskData):
    """Examples in three splits, and the folder of the checkpoint that the networks start from."""

    checkpoint_folder: Path | None = None


_Splits = tuple[list[Found], list[Found], list[Found]]


def load_data(config: EncoderRunConfig, root: Path) -> EncoderData:
    """Read, clean and split the examples of a task."""
    task = config.task
    splits, dropped = _read_splits(task, root)
    train, valid, test = splits
    check_taught(train, valid + test, task)
    numbers = {name: i for i, name in enumerate(task.tag_names)}
    done = [tuple(_numbered(found, numbers) for found in part) for part in splits]
    path = config.checkpoint.path
    folder = None if path is None else resolve_folder(path, root)
    digest = _digest(done, config, folder, root)
    return EncoderData(done[0], done[1], done[2], dict(sorted(dropped.items())), digest, folder)


def _read_splits(task: TaskConfig, root: Path) -> tuple[_Splits, Counter[str]]:
    shares = split_shares("task", task)
    reader = ExampleReader(task, root)
    dropped = reader.dropped
    # held-out files first: what is in them is in no other split
    test = reader.read([task.test] if task.test else [], "test")
    taken = {found.key for found in test}
    valid = reader.read([task.valid] if task.valid else [], "valid")
    valid = without(valid, taken, attrgetter("key"), dropped)
    taken |= {found.key for found in valid}
    given = without(reader.read(task.train_sources, "train"), taken, attrgetter("key"), dropped)
    # names in the place of numbers that the files may hold
    numbers = target_numbers([*given, *valid, *test], task)
    names = {written: task.tag_names[number] for written, number in numbers.items()}
    given, valid, test = (
        [replace(found, target=_mapped(found.target, names)) for found in part]
        for part in (given, valid, test)
    )
    unique: dict[tuple[bytes, Target], Found] = {}
    for found in given:
        unique.setdefault((found.key, found.target), found)
    dropped["duplicate"] += len(given) - len(unique)
    dropped += Counter()  # drops zeros
    # by their first text: all pairs that begin with it stay together
    train, split_valid, split_test = split_by_hash(
        unique.values(), lambda found: found.first_text, *shares
    )
    teach_all(train, (split_valid, split_test))
    splits = (train, valid + split_valid, test + split_test)
    check_filled("task", task, (len(splits[0]), len(splits[1])), dropped)
    return splits, dropped


def teach_all(train: list[Found], split_off: Iterable[list[Found]]) -> None:
    """Move examples that were split off back to the training examples where no other has their
    label, with all of their text: a class cannot be learned of held-out examples.
    """
    taught = {label for found in train for label in found.labels}
    for part in split_off:
        moved = set()
        for found in part:
            if not set(found.labels) <= taught:
                moved.add(found.first_text)
                taught.update(found.labels)
        train += [found for found in part if found.first_text in moved]
        part[:] = [found for found in part if found.first_text not in moved]


# -- targets


def target_numbers(examples: Iterable[Found], task: TaskConfig) -> dict[str, int]:
    """Return the number of each class or tag, by what the cells of all files together hold."""
    names = task.tag_names
    places: dict[str, str] = {}
    for found in examples:
        for name in found.names:
            places.setdefault(name, found.place)
    strangers = [name for name in places if name not in names]
    if not strangers:
        return {name: i for i, name in enumerate(names)}
    numbers = {str(i): i for i in range(len(names))}
    # labels may be digits themselves: one odd cell would make others of them all
    if set(places) <= set(numbers) and not set(places) & set(names):
        return numbers
    stranger = next((name for name in strangers if name not in numbers), strangers[0])
    column = task.tags if task.kind == "tagging" else task.label
    raise ConfigError(
        f"{places[stranger]}: column '{column}' holds '{stranger}'; with task.labels = "
        f"{list(task.labels)} it may hold {', '.join(names)}, or numbers from 0 to "
        f"{len(names) - 1} if no row holds one of these"
    )


def check_taught(train: Sequence[Found], held_out: Sequence[Found], task: TaskConfig) -> None:
    """Check that there is something to tell apart, and that all that is asked was taught."""
    if task.kind == "regression":
        taught = {str(found.target) for found in train}
    else:
        taught = {label for found in train for label in found.labels}
    if task.kind in ("classification", "regression", "tagging") and len(taught) < 2:
        raise ConfigError(
            f"task.train '{task.train_name}': all {len(train)} examples have the label "
            f"'{next(iter(taught), '')}'; there is nothing to tell apart"
        )
    for found in held_out:
        for label in found.labels:
            if label not in taught:
                raise ConfigError(
                    f"{found.place}: no training example has the label '{label}' of this one, so "
                    "it cannot be learned; add such examples to task.train, or leave out those "
                    "that are held out"
                )


def _mapped(target: Target, mapping: Mapping[str, Any]) -> Any:
    if isinstance(target, tuple):
        return tuple(mapping[tag] for tag in target)
    return mapping[target] if isinstance(target, str) else target


def _numbered(found: Found, numbers: Mapping[str, int]) -> Example:
    target = _mapped(found.target, numbers)
    key = "tags" if isinstance(target, tuple) else "label"
    return replace(found.example, **{key: target})


# -- digest


def _digest(
    splits: Sequence[tuple[Example, ...]],
    config: EncoderRunConfig,
    folder: Path | None,
    root: Path,
) -> str:
    """Digest of all that a training depends on; of a folder the content counts, not the name."""
    task = config.task
    teacher = config.teacher
    given: list[str] = []
    if teacher.path is not None:
        given = ["teacher", *_file_digests(resolve_folder(teacher.path, root, "teacher.path"))]
    digest = hashlib.sha256()
    for split in splits:
        digest.update(f"{len(split)}\n".encode())
        for example in split:
            digest.update(f"{example.line}\t{example.label}\t{example.tags}\n".encode())
    return fingerprint(
        digest.hexdigest(),
        task.kind,
        "\t".join(task.labels),
        teacher.model_copy(update={"path": None}),
        config.checkpoint.vocab_size,
        *([] if folder is None else _file_digests(folder)),
        *given,
    )


def _file_digests(folder: Path) -> Iterator[str]:
    for name in FILES:
        path = folder / name
        yield sha256_file(path) if path.is_file() else name
