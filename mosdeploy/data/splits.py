"""Training, validation and test examples, told apart by a hash of what they are."""

import hashlib
from collections.abc import Callable, Iterable
from typing import TypeVar

E = TypeVar("E")


def split_by_hash(
    examples: Iterable[E], key: Callable[[E], str], valid_share: float, test_share: float
) -> tuple[list[E], list[E], list[E]]:
    """Split examples by their key alone, so that a rerun, or the same examples with more of them,
    repeats the split, and examples of one key stay together.
    """
    train: list[E] = []
    valid: list[E] = []
    test: list[E] = []
    for example in examples:
        digest = hashlib.sha256(key(example).encode()).digest()
        position = int.from_bytes(digest[:6]) / 2**48  # even in [0, 1)
        chosen = test if position < test_share else valid
        (chosen if position < test_share + valid_share else train).append(example)
    return train, valid, test


def told_held_out(count: int, **files: str | None) -> str:
    """For a message: that training examples are left out because they are in held-out files."""
    named = [f"{key.replace('_', '.')} '{name}'" for key, name in files.items() if name]
    return f"; {count:,} are in {' or '.join(named)} too: name another file" if count else ""
