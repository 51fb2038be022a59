"""The manifest of a bundle, and the check that the bundle's files are those it names.

In: a folder that anyone may have written. Out: a `Manifest` whose every value has been checked, or
a BundleError. What the runtime does not need, it does not read.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from .errors import FileMismatchError, ManifestError

MANIFEST_NAME, TOKENIZER_NAME = "manifest.json", "tokenizer.model"
ONNX_MODEL_NAME, LIBRARY_NAME, WEIGHTS_NAME = "model.onnx", "model.so", "weights.bin"
MODEL_NAMES = {"onnxruntime": (ONNX_MODEL_NAME,), "tvm": (LIBRARY_NAME, WEIGHTS_NAME)}
"""By runtime, the files that hold the model."""

VERSION = 1

MAX_MANIFEST_BYTES = 2**20
MAX_FILE_BYTES = 2**31  # ONNX files cannot be larger
MAX_TOKENIZER_BYTES = 2**26  # it is read whole
MAX_LENGTH = 2**16
MAX_VOCAB_SIZE = 2**20
MAX_TEXT_LENGTH = 2**14
MAX_SELF_TESTS = 100
MAX_BEAM = 64
MAX_LENGTH_PENALTY = 10.0

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class SelfTest:
    """A sentence, its ids, and what the bundle must answer."""

    source: str
    source_ids: tuple[int, ...]
    output_ids: tuple[int, ...]
    output: str


@dataclass(frozen=True)
class Manifest:
    """What the runtime needs to know; lengths count pieces without begin and end tokens."""

    name: str
    runtime: str
    precision: str
    beam: int
    length_penalty: float
    pad_id: int
    bos_id: int
    eos_id: int
    vocab_size: int
    max_source_len: int
    max_decode_steps: int
    self_tests: tuple[SelfTest, ...]
    sha256: dict[str, str]


def read_manifest(bundle_dir: Path) -> Manifest:
    """Read and check `manifest.json`.

    Raises
    ------
    ManifestError
        If it is missing, a link, larger than a mebibyte or not JSON, or a value is missing, of the
        wrong type or out of range.
    """
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
        data = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ManifestError(
            f"{path} is corrupt ({error}); copy or export the bundle again"
        ) from error
    try:
        return _manifest(_Fields(data, "manifest"))
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from None


def check_files(bundle_dir: Path, manifest: Manifest) -> None:
    """Make sure that every file which the manifest names lies in the folder and has the hash that
    it should.

    Raises
    ------
    FileMismatchError
        Naming the file.
    """
    for name, expected in manifest.sha256.items():
        path = bundle_dir / name
        try:
            _check_regular(path, MAX_TOKENIZER_BYTES if name == TOKENIZER_NAME else MAX_FILE_BYTES)
            found = _sha256(path)
        except OSError as error:
            raise FileMismatchError(
                f"cannot read {path}: {error.strerror}; copy or export the bundle again"
            ) from error
        if found != expected:
            raise FileMismatchError(
                f"{path} is not the file of this bundle: its sha256 begins with {found[:12]}, the manifest says "
                f"{expected[:12]}; copy or export the bundle again"
            )


# -- reading of untrusted values
# -----------------------------------------------------------------------------------


class _Fields:
    """The members of a JSON object, each asked for with its type and range."""

    def __init__(self, data: object, where: str) -> None:
        if not isinstance(data, dict):
            raise ManifestError(f"{where} must be an object")
        self._data, self._where = data, where

    def get(self, key: str) -> object:
        if key not in self._data:
            raise ManifestError(f"{self._where} has no '{key}'")
        return self._data[key]

    def integer(self, key: str, low: int, high: int) -> int:
        value = self.get(key)
        if type(value) is not int or not low <= value <= high:  # bool is an int
            raise ManifestError(f"'{key}' must be a whole number from {low} to {high}")
        return value

    def text(self, key: str) -> str:
        value = self.get(key)
        if (
            not isinstance(value, str)
            or len(value) > MAX_TEXT_LENGTH
            or _LONE_SURROGATE.search(value)
        ):
            raise ManifestError(f"'{key}' must be a text of at most {MAX_TEXT_LENGTH} characters")
        return value

    def number(self, key: str, low: float, high: float) -> float:
        value = self.get(key)
        if type(value) not in (int, float) or not low <= value <= high:  # type: ignore[operator]
            raise ManifestError(f"'{key}' must be a number from {low:g} to {high:g}")
        return float(value)  # type: ignore[arg-type]

    def ids(self, key: str, vocab_size: int, longest: int) -> tuple[int, ...]:
        value = self.get(key)
        if not isinstance(value, list) or len(value) > longest:
            raise ManifestError(f"'{key}' must be a list of at most {longest} ids")
        if not all(type(item) is int and 0 <= item < vocab_size for item in value):
            raise ManifestError(f"'{key}' must hold ids from 0 to {vocab_size - 1}")
        return tuple(value)


def _manifest(fields: _Fields) -> Manifest:
    fields.integer("version", VERSION, VERSION)
    runtime = fields.text("runtime")
    if runtime not in MODEL_NAMES:
        raise ManifestError(
            f"'runtime' must be {' or '.join(MODEL_NAMES)}; nothing here runs another bundle"
        )
    vocab_size = fields.integer("vocab_size", 4, MAX_VOCAB_SIZE)
    pad_id, bos_id, eos_id = (
        fields.integer(key, 0, vocab_size - 1) for key in ("pad_id", "bos_id", "eos_id")
    )
    if pad_id == eos_id:
        raise ManifestError("'pad_id' and 'eos_id' must differ")
    tests = fields.get("self_test")
    if not isinstance(tests, list) or not 1 <= len(tests) <= MAX_SELF_TESTS:
        raise ManifestError(f"'self_test' must be a list of 1 to {MAX_SELF_TESTS} sentences")
    max_source_len, max_decode_steps = (
        fields.integer(x, 1, MAX_LENGTH) for x in ("max_source_len", "max_decode_steps")
    )
    return Manifest(
        name=fields.text("name"),
        runtime=runtime,
        precision=fields.text("precision"),
        beam=fields.integer("beam", 1, MAX_BEAM),
        length_penalty=fields.number("length_penalty", 0.0, MAX_LENGTH_PENALTY),
        pad_id=pad_id,
        bos_id=bos_id,
        eos_id=eos_id,
        vocab_size=vocab_size,
        max_source_len=max_source_len,
        max_decode_steps=max_decode_steps,
        self_tests=tuple(
            SelfTest(
                source=item.text("source"),
                source_ids=item.ids("source_ids", vocab_size, max_source_len),
                output_ids=item.ids("output_ids", vocab_size, max_decode_steps),
                output=item.text("output"),
            )
            for item in (_Fields(test, "self_test") for test in tests)
        ),
        sha256=_hashes(fields.get("sha256"), MODEL_NAMES[runtime]),
    )


def _hashes(value: object, model_names: tuple[str, ...]) -> dict[str, str]:
    names = (*model_names, TOKENIZER_NAME)
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
        raise FileMismatchError(f"{path} is not a regular file of at most {max_bytes} bytes")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()
