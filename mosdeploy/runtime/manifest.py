"""The manifest of a bundle, and the check that the bundle's files are those it names."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .errors import FileMismatchError, ManifestError
from .execution import MAX_THREADS

MANIFEST_NAME = "manifest.json"
TOKENIZER_NAMES = {"encoder": "tokenizer.json", "translation": "tokenizer.model"}
"""By family that can be run here, the file that turns text into ids."""

ONNX_MODEL_NAME = "model.onnx"
LIBRARY_NAME = "model.so"
WEIGHTS_NAME = "weights.bin"
MODEL_NAMES = {"onnxruntime": (ONNX_MODEL_NAME,), "tvm": (LIBRARY_NAME, WEIGHTS_NAME)}
"""By runtime, the files that hold the model."""

INDEPENDENT_ROWS = "mosdeploy.independent_rows"
"""Metadata of a model that computes one row of its inputs after another: on several threads, rows
of their own are faster than parts of one.
"""

VERSION = 2

MAX_MANIFEST_BYTES = 2**20
MAX_FILE_BYTES = 2**31  # ONNX files cannot be larger
MAX_TOKENIZER_BYTES = 2**26  # it is read whole
MAX_LENGTH = 2**16
MAX_VOCAB_SIZE = 2**20
MAX_TEXT_LENGTH = 2**14
MAX_SELF_TESTS = 100
MAX_ANSWER = 1e30  # beyond any score of a network

Settings = TypeVar("Settings")

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class SelfTest:
    """An input as text, its token ids, and what the bundle must answer: ids, or scores."""

    input: str
    input_ids: tuple[int, ...]
    answer: tuple[int, ...] | tuple[float, ...]
    output: str


@dataclass(frozen=True)
class Manifest:
    """What the runtime needs to know of any bundle: the threads that it was measured with, the
    family's settings (not checked yet), the digest of every other file by name.
    """

    family: str
    name: str
    runtime: str
    precision: str
    threads: int
    settings: dict[str, object]
    vocab_size: int
    self_tests: tuple[SelfTest, ...]
    sha256: dict[str, str]


def open_folder(
    bundle_dir: Path, read_settings: Callable[[Manifest], Settings]
) -> tuple[Manifest, Settings]:
    """Read the manifest of a bundle with what its family needs to know, and check all files."""
    manifest = read_manifest(bundle_dir)
    with _errors_naming(bundle_dir / MANIFEST_NAME):
        settings = read_settings(manifest)
    check_files(bundle_dir, manifest)
    return manifest, settings


def read_manifest(bundle_dir: Path) -> Manifest:
    """Read and check `manifest.json`."""
    path = bundle_dir / MANIFEST_NAME
    try:
        _check_regular(path, MAX_MANIFEST_BYTES)
        content = path.read_bytes()
    except OSError as error:
        raise ManifestError(
            f"cannot read {path}: {error.strerror}; is {bundle_dir} a bundle?"
        ) from error
    except FileMismatchError as error:
        raise ManifestError(f"{error}; it is no manifest") from error
    try:
        data = json.loads(content.decode("utf-8"), object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise ManifestError(
            f"{path} is corrupt ({error}); copy or export the bundle again"
        ) from error
    with _errors_naming(path):
        return _manifest(Fields(data, "manifest"))


def check_files(bundle_dir: Path, manifest: Manifest) -> None:
    """Make sure that every file which the manifest names lies in the folder, with that hash."""
    tokenizer = TOKENIZER_NAMES[manifest.family]
    for name, expected in manifest.sha256.items():
        path = bundle_dir / name
        try:
            _check_regular(path, MAX_TOKENIZER_BYTES if name == tokenizer else MAX_FILE_BYTES)
            found = _sha256(path)
        except OSError as error:
            raise FileMismatchError(
                f"cannot read {path}: {error.strerror}; copy or export the bundle again"
            ) from error
        if found != expected:
            raise FileMismatchError(
                f"{path} is not the file of this bundle: its sha256 begins with {found[:12]}, "
                f"the manifest says {expected[:12]}; copy or export the bundle again"
            )


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of a key that is there twice, nobody can say which value is right."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:80]!r} is there twice")
        found[key] = value
    return found


@contextlib.contextmanager
def _errors_naming(path: Path) -> Iterator[None]:
    """Put the path of the manifest before the message of a ManifestError."""
    try:
        yield
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from None


# -- reading of untrusted values -------------------------------------------------------------------


class Fields:
    """The members of a JSON object, each asked for with its type and range."""

    def __init__(self, data: object, where: str) -> None:
        if not isinstance(data, dict):
            raise ManifestError(f"{where} must be an object")
        self._data = data
        self._where = where

    def get(self, key: str) -> object:
        """A member of any type."""
        if key not in self._data:
            raise ManifestError(f"{self._where} has no '{key}'")
        return self._data[key]

    def integer(self, key: str, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        value = self.get(key)
        if type(value) is not int or not low <= value <= high:  # bool is an int
            raise ManifestError(f"'{key}' must be a whole number from {low} to {high}")
        return value

    def text(self, key: str) -> str:
        """A text that can be written as UTF-8."""
        value = self.get(key)
        if (
            not isinstance(value, str)
            or len(value) > MAX_TEXT_LENGTH
            or _LONE_SURROGATE.search(value)
        ):
            raise ManifestError(f"'{key}' must be a text of at most {MAX_TEXT_LENGTH} characters")
        return value

    def number(self, key: str, low: float, high: float) -> float:
        """A finite number from `low` to `high`."""
        value = self.get(key)
        if type(value) not in (int, float) or not low <= value <= high:  # type: ignore[operator]
            raise ManifestError(f"'{key}' must be a number from {low:g} to {high:g}")
        return float(value)  # type: ignore[arg-type]

    def ids(self, key: str, vocab_size: int) -> tuple[int, ...]:
        """Token ids below `vocab_size`."""
        value = self._list(key, "ids")
        if not all(type(item) is int and 0 <= item < vocab_size for item in value):
            raise ManifestError(f"'{key}' must hold ids from 0 to {vocab_size - 1}")
        return tuple(value)

    def numbers(self, key: str) -> tuple[int, ...] | tuple[float, ...]:
        """Whole numbers, or finite numbers at least one of which is not written as whole."""
        value = self._list(key, "numbers")
        if not all(type(item) in (int, float) and abs(item) <= MAX_ANSWER for item in value):
            raise ManifestError(f"'{key}' must hold finite numbers")
        if all(type(item) is int for item in value):
            return tuple(value)
        return tuple(float(item) for item in value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Texts, as `text` takes them."""
        value = self._list(key, "texts")
        return tuple(Fields({key: item}, self._where).text(key) for item in value)

    def _list(self, key: str, noun: str) -> list[Any]:
        value = self.get(key)
        if not isinstance(value, list) or len(value) > MAX_LENGTH:
            raise ManifestError(f"'{key}' must be a list of at most {MAX_LENGTH} {noun}")
        return value


def _manifest(fields: Fields) -> Manifest:
    if (version := fields.get("version")) != VERSION:
        raise ManifestError(
            f"'version' is {version!r:.50}, and this runtime reads {VERSION}: export the bundle "
            "again, or use the runtime of the mosdeploy that made it"
        )
    family = _one_of(fields, "family", tuple(TOKENIZER_NAMES))
    runtime = _one_of(fields, "runtime", tuple(MODEL_NAMES))
    vocab_size = fields.integer("vocab_size", 4, MAX_VOCAB_SIZE)
    settings = fields.get("settings")
    if not isinstance(settings, dict):
        raise ManifestError("'settings' must be an object")
    tests = fields.get("self_test")
    if not isinstance(tests, list) or not 1 <= len(tests) <= MAX_SELF_TESTS:
        raise ManifestError(f"'self_test' must be a list of 1 to {MAX_SELF_TESTS} examples")
    return Manifest(
        family=family,
        name=fields.text("name"),
        runtime=runtime,
        precision=fields.text("precision"),
        threads=Fields(fields.get("workload"), "workload").integer("threads", 1, MAX_THREADS),
        settings=settings,
        vocab_size=vocab_size,
        self_tests=tuple(_self_test(Fields(test, "self_test"), vocab_size) for test in tests),
        sha256=_hashes(fields.get("sha256"), (*MODEL_NAMES[runtime], TOKENIZER_NAMES[family])),
    )


def _one_of(fields: Fields, key: str, known: tuple[str, ...]) -> str:
    value = fields.text(key)
    if value not in known:
        raise ManifestError(
            f"'{key}' must be {' or '.join(known)}; nothing here runs another bundle"
        )
    return value


def _self_test(fields: Fields, vocab_size: int) -> SelfTest:
    return SelfTest(
        input=fields.text("input"),
        input_ids=fields.ids("input_ids", vocab_size),
        answer=fields.numbers("answer"),
        output=fields.text("output"),
    )


def _hashes(value: object, names: tuple[str, ...]) -> dict[str, str]:
    if not isinstance(value, dict) or not set(names) <= set(value):
        raise ManifestError(f"'sha256' must name {' and '.join(names)}")
    for name, digits in value.items():
        if not _FILE_NAME.fullmatch(name):
            raise ManifestError(f"'sha256' must name files of this folder, not {name[:100]!r}")
        if not isinstance(digits, str) or not _SHA256.fullmatch(digits):
            raise ManifestError(f"'sha256' of {name} must be 64 hex digits")
    return dict(value)


def _check_regular(path: Path, max_bytes: int) -> None:
    """Refuse what is a link or may be endless, before it is opened."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > max_bytes:
        raise FileMismatchError(f"{path} is not a regular file of at most {max_bytes >> 20} MiB")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()
