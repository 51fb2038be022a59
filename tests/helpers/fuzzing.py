"""Data and text with one place changed, for tests of what reads them.

FUZZ_FACTOR=20 makes each test try so many times more, and prints at the end what came of them:

    FUZZ_FACTOR=8 python -m pytest --timeout 0 tests/test_fuzz.py tests/runtime/test_fuzz.py
    FUZZ_FACTOR=8 python -m pytest --timeout 0 tests/devices/test_hostile.py
"""

import atexit
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

FACTOR = int(os.environ.get("FUZZ_FACTOR", "1"))
OUTCOMES: Counter[str] = Counter()


def fuzzed(num_examples: int) -> settings:
    """Settings of a test that tries so many examples, or FUZZ_FACTOR times as many."""
    return settings(
        max_examples=FACTOR * num_examples,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


@contextmanager
def only(kind: type[Exception]) -> Iterator[None]:
    """What may end in one kind of error, with a message; all else goes through."""
    try:
        yield
    except kind as error:
        assert str(error)
        OUTCOMES[type(error).__name__] += 1
    else:
        OUTCOMES["used"] += 1


if FACTOR > 1:
    atexit.register(lambda: print(f"{OUTCOMES.total():,} tries: {dict(OUTCOMES.most_common())}"))

PATHS = [
    "../secret",
    "/etc/passwd",
    "a/../../b",
    "link",
    "folder",
    "model.onnx",
    "manifest.json",
    "a\x00b",
    "\ud800",
    "",
]
numbers = (
    st.integers()
    | st.floats()
    | st.sampled_from([2**31, 2**53, 2**64, 10**30, -1, 0, 1, 65536, True, 1e308])
)
texts = st.text(max_size=8) | st.sampled_from([*PATHS, "0" * 64, "f" * 64, "x" * 20_000])
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def change(content: dict[str, Any], data: st.DataObject) -> None:
    """Change one place, at any depth: another value, one more, one less, or a number or text like
    the one there.
    """
    where: Any = content
    while True:
        key = data.draw(
            st.sampled_from(sorted(where))
            if isinstance(where, dict)
            else st.sampled_from(range(len(where)))
        )
        inside = where[key]
        if not isinstance(inside, (dict, list)) or not inside or data.draw(st.integers(0, 3)) == 0:
            break
        where = inside
    kind = data.draw(st.sampled_from(["replace", "near", "add", "remove"]))
    if kind == "near" and type(inside) is int:
        where[key] = inside + data.draw(st.sampled_from([-1, 1, 2, 100, 10**6, -(10**6)]))
    elif kind == "near" and isinstance(inside, str):
        where[key] = data.draw(texts) + inside
    elif kind == "remove":
        del where[key]
    elif kind == "add" and isinstance(where, dict):
        where[data.draw(texts)] = data.draw(values)
    elif kind == "add":
        where.insert(key, data.draw(values))
    else:
        where[key] = data.draw(values)


def damage(content: bytes, data: st.DataObject) -> bytes:
    """Cut, repeat, replace or insert a piece of a file."""
    start = data.draw(st.integers(0, len(content)))
    stop = min(len(content), start + data.draw(st.integers(0, 40)))
    piece = content[start:stop]
    new = data.draw(
        st.binary(max_size=6)
        | st.sampled_from([b"", piece * 2, b"9" * 5000, b"[" * 5000, b'{"a":' * 3000, b"\x00"])
        | st.sampled_from([b"-", b"1e999", b"NaN", b"nan", b"\xff\xfe", b'"', b"\n", b",", b"="])
    )
    return content[:start] + new + content[stop:]
