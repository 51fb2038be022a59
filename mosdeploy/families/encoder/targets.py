"""Targets of a task: from what cells of a table say to numbers of classes and tags."""

import json
import logging
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ...config.encoder import TaskConfig
from ...errors import ConfigError
from ...runtime.manifest import MAX_ANSWER

_log = logging.getLogger(__name__)

CHANCE_SHARES = (0.99, 1.05)
"""Of the loss of knowing only how often each class comes: between these a teacher may have learned
nothing; above, it is wrong and sure of it, and may be right often.
"""

E = TypeVar("E")
Target = str | float | tuple[str, ...] | None
"""Of one example: the name of its class, its number, its tags, or nothing."""


@dataclass(frozen=True)
class PlacedTarget:
    """A target and the file and line where it stands."""

    place: str
    target: Target

    @property
    def names(self) -> tuple[str, ...]:
        """Classes or tags in it, as they are written."""
        if isinstance(self.target, tuple):
            return self.target
        return (self.target,) if isinstance(self.target, str) else ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes in it, or the types of its tags' entities."""
        is_tagged = isinstance(self.target, tuple)
        return tuple(re.sub("^[BI]-", "", x) for x in self.names) if is_tagged else self.names


def cell_text(cell: Any) -> str:
    """A cell as a CSV file would write it: a whole number without a point, `true`, `false`; nothing
    for JSON's null and for NaN, which tables have where a value is missing.
    """
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return cell if isinstance(cell, str) else json.dumps(cell)


def cell_words(cell: Any, place: str, column: str) -> tuple[str, ...]:
    """The list in a cell: of JSON, or words separated by spaces."""
    if isinstance(cell, str):
        return tuple(cell.split())
    if not isinstance(cell, list | tuple):
        raise ConfigError(f"{place}: column '{column}' holds {cell!r}, no list")
    words = tuple(" ".join(cell_text(word).split()) for word in cell)
    if not all(words):
        raise ConfigError(
            f"{place}: word {words.index('') + 1} of column '{column}' is empty; leave it out, "
            "with its tag"
        )
    return words


def joined_tag(tag: str) -> str:
    """A tag as it is answered, where spaces are between tags: without any of its own."""
    return "_".join(tag.split())


def output_order(names: Sequence[str], config: TaskConfig) -> list[int] | None:
    """For each output of the task, which of another head's it is."""
    wanted = list(config.tag_names)
    if not names or not wanted:
        return list(range(config.num_outputs))
    if set(names) != set(wanted):
        names = [joined_tag(name.casefold()) for name in names]
        wanted = [joined_tag(name.casefold()) for name in wanted]
    # of two that are alike, nobody knows which is which
    if sorted(names) != sorted(wanted) or len(set(names)) < len(names):
        return None
    return [names.index(name) for name in wanted]


def warn_of_order(folder: Path, config: TaskConfig) -> None:
    """Warn that outputs which have no names are taken for those of the task."""
    _log.warning(
        "the outputs of %s have no names and are taken for %s, in this order; if theirs is "
        "another, write the names in id2label of its config.json",
        folder,
        ", ".join(config.tag_names),
    )


def warn_of_untaught(numbers: Iterable[int], config: TaskConfig) -> None:
    """Warn of labels that no training example has."""
    names = tuple(config.tag_names[i] for i in numbers)
    taught = PlacedTarget("", names).labels if config.kind == "tagging" else names
    if untaught := [label for label in config.labels if label not in taught]:
        _log.warning(
            "no training example has %s of task.labels, which cannot be learned so",
            ", ".join(f"'{label}'" for label in untaught),
        )


def warn_of_chance(loss: float, classes: npt.NDArray[np.int64]) -> None:
    """Warn of a teacher whose loss is that of knowing only how often each class comes."""
    _, counts = np.unique(classes, return_counts=True)
    shares = counts / counts.sum()
    chance = -float(shares @ np.log(shares))
    low, high = (share * chance for share in CHANCE_SHARES)
    # of one class alone it is 0
    if 0 < low <= loss <= high:
        _log.warning(
            "the teacher has a validation loss of %.3f, and %.3f is that of answering with how "
            "often each class comes: it may have learned nothing. If its scores say so too, raise "
            "teacher.steps or teacher.learning_rate, or take another checkpoint",
            loss,
            chance,
        )


def number_of(cell: Any) -> float:
    """The number that a cell holds; NaN if it is none, or larger than any answer of a bundle."""
    text = str(cell).strip()
    try:
        # Python takes 1_000 and any script's digits for numbers; what wrote the file need not
        is_none = isinstance(cell, bool) or "_" in text or not text.isascii()
        number = math.nan if is_none else float(cell)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if abs(number) <= MAX_ANSWER else math.nan


def cell_number(cell: Any, place: str, column: str) -> float:
    """The number in a cell."""
    number = number_of(cell)
    if math.isnan(number):
        raise ConfigError(
            f"{place}: column '{column}' holds {repr(cell)[:100]}; regression needs a number "
            f"in the digits 0 to 9, of {MAX_ANSWER:g} at most and without _"
        )
    return number


def target_numbers(targets: Iterable[PlacedTarget], config: TaskConfig) -> dict[str, int]:
    """Number of each class or tag, by what the cells of all files together say."""
    names = config.tag_names
    places: dict[str, str] = {}
    for placed in targets:
        for name in placed.names:
            places.setdefault(name, placed.place)
    strangers = [name for name in places if name not in names]
    numbers = {str(i): i for i in range(len(names))}
    if not strangers:
        return {name: i for i, name in enumerate(names)}
    # labels may be digits themselves: one odd cell would make others of them all
    if set(places) <= set(numbers) and not set(places) & set(names):
        return numbers
    stranger = next((name for name in strangers if name not in numbers), strangers[0])
    column = config.tags if config.kind == "tagging" else config.label
    raise ConfigError(
        f"{places[stranger]}: column '{column}' holds '{stranger}'; with task.labels = "
        f"{list(config.labels)} it may hold {', '.join(names)}, or numbers from 0 to "
        f"{len(names) - 1} if no row holds one of these"
    )


def check_targets(
    train: Sequence[PlacedTarget], held_out: Sequence[PlacedTarget], config: TaskConfig
) -> None:
    """Make sure that there is something to tell apart, and that all that is asked was taught."""
    if config.kind not in ("classification", "regression", "tagging"):
        return
    if config.kind == "regression":
        taught = {str(placed.target) for placed in train}
    else:
        taught = {label for placed in train for label in placed.labels}
    if len(taught) < 2:
        raise ConfigError(
            f"task.train '{config.train_name}': all {len(train)} examples have the label "
            f"'{next(iter(taught), '')}'; there is nothing to tell apart"
        )
    for placed in held_out:
        for label in placed.labels:
            if label not in taught:
                raise ConfigError(
                    f"{placed.place}: no training example has the label '{label}' of this "
                    "one, so it cannot be learned; add such examples to task.train, or leave out "
                    "those that are held out"
                )


def teach_all(
    train: list[E],
    split_off: Iterable[list[E]],
    place: Callable[[E], PlacedTarget],
    key: Callable[[E], str],
) -> None:
    """Move examples that were split off the training examples back to them where no other has their
    label, with all of their key: a rare class cannot be learned of examples that are held out.
    """
    taught = {label for example in train for label in place(example).labels}
    for part in split_off:
        moved = set()
        for example in part:
            labels = set(place(example).labels)
            if not labels <= taught:
                moved.add(key(example))
                taught |= labels
        train += [example for example in part if key(example) in moved]
        part[:] = [example for example in part if key(example) not in moved]
