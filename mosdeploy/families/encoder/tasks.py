"""The data of a task: its examples in three splits, with classes and tags as numbers."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...config.encoder import EncoderRunConfig, TaskConfig
from ...data.text_files import split_by_hash, told_held_out
from ...errors import ConfigError
from ...storage import fingerprint, sha256_file
from .checkpoint_files import FILES, resolve_folder
from .examples import Example, ExampleReader, Found, Target


@dataclass(frozen=True)
class EncoderData:
    """Examples in three splits; no input, case aside, is in two of them."""

    train: tuple[Example, ...]
    valid: tuple[Example, ...]
    test: tuple[Example, ...]
    dropped: dict[str, int]
    sha256: str
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
    return EncoderData(
        train=done[0],
        valid=done[1],
        test=done[2],
        dropped=dict(sorted(dropped.items())),
        sha256=_digest(done, config, folder, root),
        checkpoint_folder=folder,
    )


# -- splits


def _read_splits(task: TaskConfig, root: Path) -> tuple[_Splits, Counter[str]]:
    valid_share = 0.0 if task.valid else task.valid_fraction
    test_share = 0.0 if task.test else task.test_fraction
    if valid_share + test_share >= 1:
        raise ConfigError(
            "task.valid_fraction and task.test_fraction add up to 1 or more: nothing is left to "
            "train on"
        )
    reader = ExampleReader(task, root)
    dropped = reader.dropped
    # held-out files first: what is in them is in no other split
    test = reader.read([task.test] if task.test else [], "test")
    taken = {found.key for found in test}
    valid = reader.read([task.valid] if task.valid else [], "valid")
    valid = _without(valid, taken, dropped)
    taken |= {found.key for found in valid}
    given = _without(reader.read(task.train_sources, "train"), taken, dropped)
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
        unique.values(), lambda found: found.first_text, valid_share, test_share
    )
    teach_all(train, (split_valid, split_test))
    splits = (train, valid + split_valid, test + split_test)
    _check_filled(splits, task, dropped)
    return splits, dropped


def _without(examples: list[Found], taken: set[bytes], dropped: Counter[str]) -> list[Found]:
    kept = [found for found in examples if found.key not in taken]
    dropped["held_out"] += len(examples) - len(kept)
    return kept


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


def _check_filled(splits: _Splits, task: TaskConfig, dropped: Counter[str]) -> None:
    train, valid, _ = splits
    counts = ", ".join(f"{reason} {count}" for reason, count in sorted(dropped.items())) or "none"
    if not train:
        raise ConfigError(
            f"task.train '{task.train_name}': no example is left to train on (dropped: {counts})"
            + told_held_out(dropped["held_out"], task_valid=task.valid, task_test=task.test)
        )
    if not valid and task.valid:
        raise ConfigError(
            f"task.valid '{task.valid}': all its texts are in task.test '{task.test}' too; name "
            "another file"
        )
    if not valid:
        raise ConfigError(
            f"the task has no validation examples ({len(train)} training examples, dropped: "
            f"{counts}): name a file as task.valid (--valid of init), or raise "
            f"task.valid_fraction above {task.valid_fraction}"
        )


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
