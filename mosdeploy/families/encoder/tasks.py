"""Examples of a task: texts, pairs of texts or words, and what is to be learned of them."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...config.encoder import EncoderRunConfig, TaskConfig
from ...data.text_files import split_by_hash, told_held_out
from ...errors import ConfigError
from ...storage import fingerprint, sha256_file
from .examples import Example, Found, folded, read_examples, text_key
from .folders import FILES, resolve_folder
from .targets import (
    Target,
    check_targets,
    target_numbers,
    teach_all,
)


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
    dropped: Counter[str] = Counter()
    splits = _read_splits(task, root, dropped)
    train, valid, test = splits
    numbers = {name: i for i, name in enumerate(task.tag_names)}
    check_targets([f.placed for f in train], [f.placed for f in valid + test], task)
    done = [tuple(_numbered(f, numbers) for f in part) for part in splits]
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


# -- reading


def _read_splits(task: TaskConfig, root: Path, dropped: Counter[str]) -> _Splits:
    valid_share = 0.0 if task.valid else task.valid_fraction
    test_share = 0.0 if task.test else task.test_fraction
    if valid_share + test_share >= 1:
        raise ConfigError(
            "task.valid_fraction and task.test_fraction add up to 1 or more: nothing is left to "
            "train on"
        )
    held_out = set[bytes]()
    test = read_examples([task.test] if task.test else [], "test", task, root, dropped, held_out)
    taken = {text_key(found.example.line) for found in test}
    named = [task.valid] if task.valid else []
    valid = read_examples(named, "valid", task, root, dropped, held_out)
    valid = _without(valid, taken, dropped)
    taken |= {text_key(found.example.line) for found in valid}
    given = read_examples(task.train_sources, "train", task, root, dropped, held_out)
    given = _without(given, taken, dropped)
    # first what is no label at all, then what is one that cannot be learned
    parts = (given, valid, test)
    numbers = target_numbers((found.placed for part in parts for found in part), task)
    names = {written: task.tag_names[number] for written, number in numbers.items()}
    given, valid, test = ([_named(found, names) for found in part] for part in parts)
    kept: dict[tuple[bytes, Target], Found] = {}
    for found in given:
        key = (text_key(found.example.line), found.target)
        dropped["duplicate"] += key in kept
        kept.setdefault(key, found)
    dropped += Counter()  # drops zeros
    # what is said of one text in several pairs stays together
    train, split_valid, split_test = split_by_hash(
        kept.values(), _first_text, valid_share, test_share
    )
    teach_all(train, (split_valid, split_test), lambda found: found.placed, _first_text)
    splits = (train, valid + split_valid, test + split_test)
    _check_filled(splits, task, dropped)
    return splits


# -- splitting


def _first_text(found: Found) -> str:
    return folded(found.example.text)


def _without(examples: list[Found], taken: set[bytes], dropped: Counter[str]) -> list[Found]:
    kept = [found for found in examples if text_key(found.example.line) not in taken]
    dropped["held_out"] += len(examples) - len(kept)
    return kept


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


# -- numbers


def _named(found: Found, names: dict[str, str]) -> Found:
    """With names of classes and tags in the place of numbers that a file may hold."""
    target = found.target
    if isinstance(target, tuple):
        return replace(found, target=tuple(names[tag] for tag in target))
    if isinstance(target, str):
        return replace(found, target=names[target])
    return found


def _numbered(found: Found, numbers: dict[str, int]) -> Example:
    target = found.target
    if isinstance(target, tuple):
        return replace(found.example, tags=tuple(numbers[tag] for tag in target))
    if isinstance(target, str):
        return replace(found.example, label=numbers[target])
    return replace(found.example, label=target)


def _digest(
    splits: Sequence[tuple[Example, ...]],
    config: EncoderRunConfig,
    folder: Path | None,
    root: Path,
) -> str:
    task = config.task
    teacher = config.teacher
    given: list[str] = []
    if teacher.path is not None:
        files = _checkpoint_digests(resolve_folder(teacher.path, root, "teacher.path"))
        given = ["teacher", *files]
    digest = hashlib.sha256()
    for split in splits:
        digest.update(f"{len(split)}\n".encode())
        for example in split:
            digest.update(f"{example.line}\t{example.label}\t{example.tags}\n".encode())
    return fingerprint(
        digest.hexdigest(),
        task.kind,
        "\t".join(task.labels),
        # the folder's content counts, not its name
        teacher.model_copy(update={"path": None}),
        config.checkpoint.vocab_size,
        *_checkpoint_digests(folder),
        *given,
        # networks without the scale of the labels, of older versions, are others
        *(["scaled"] if task.kind == "regression" else []),
    )


def _checkpoint_digests(folder: Path | None) -> Iterator[str]:
    if folder is not None:
        for name in FILES:
            path = folder / name
            yield sha256_file(path) if path.is_file() else name
