"""The manifest of a bundle: read, checked, and compared with the files that it names."""

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
from .texts import is_one_line, unique_keys

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

MAX_BEAM = 64
MAX_LENGTH_PENALTY = 10.0

KINDS = ("classification", "regression", "tagging", "embedding")
PAIR_KINDS = ("classification", "regression")
MAX_OUTPUTS = 2**16
MAX_TEXTS = 2**10
MAX_NUMBER = 1e38
MIN_LABELS = {"classification": 2, "tagging": 2}
CUT = "cut"
WINDOW = "window"
LONG = (CUT, WINDOW)
"""What may become of a line that is longer than an encoder takes."""
OUTSIDE = "O"
"""The tag of a word that belongs to nothing; all others begin with `B-` or `I-`."""

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


# -- settings, family by family --------------------------------------------------------------------


@dataclass(frozen=True)
class TranslationSettings:
    """Special token ids, the search, and the limits."""

    pad_id: int
    bos_id: int
    eos_id: int
    beam: int  # hypotheses a sentence; 1 is greedy
    length_penalty: float  # a hypothesis scores sum of log p / length ** length_penalty
    max_source_len: int  # tokens, begin and end not counted
    max_decode_steps: int


def read_translation(manifest: Manifest) -> TranslationSettings:
    """Read and check the settings, and that the self-test keeps their limits."""
    fields = Fields(manifest.settings, "settings")
    last_id = manifest.vocab_size - 1
    settings = TranslationSettings(
        pad_id=fields.integer("pad_id", 0, last_id),
        bos_id=fields.integer("bos_id", 0, last_id),
        eos_id=fields.integer("eos_id", 0, last_id),
        beam=fields.integer("beam", 1, MAX_BEAM),
        length_penalty=fields.number("length_penalty", 0.0, MAX_LENGTH_PENALTY),
        max_source_len=fields.integer("max_source_len", 1, MAX_LENGTH),
        max_decode_steps=fields.integer("max_decode_steps", 1, MAX_LENGTH),
    )
    if settings.pad_id == settings.eos_id:
        raise ManifestError("'pad_id' and 'eos_id' must differ")
    for test in manifest.self_tests:
        _check_length("input_ids", test.input_ids, settings.max_source_len)
        _check_length("answer", test.answer, settings.max_decode_steps)
        if not all(type(i) is int and 0 <= i <= last_id for i in test.answer):
            raise ManifestError(f"'answer' must hold ids from 0 to {last_id}")
    return settings


@dataclass(frozen=True)
class EncoderSettings:
    """The task of an encoder, and the limits."""

    kind: str  # one of KINDS
    labels: tuple[str, ...]  # classes or tags, in order; empty for the other kinds
    num_outputs: int  # numbers in an answer: to each token for tagging, else to the whole text
    num_types: int  # token types that the model knows; 0 where it has no such input
    max_input_len: int  # tokens, special ones included; longer texts are cut, or read in windows
    takes_pairs: bool  # whether it has learned two texts, with a tab between them
    texts_per_call: int = 1  # that a quantised model takes, and answers as each alone

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the model's inputs, in order."""
        types = ("token_type_ids",) if self.num_types else ()
        return ("input_ids", "attention_mask", *types)

    @property
    def output(self) -> str:
        """Name of the model's output."""
        return "vector" if self.kind == "embedding" else "logits"


def read_encoder(manifest: Manifest) -> EncoderSettings:
    """Read and check the settings, and that the self-test keeps their limits."""
    fields = Fields(manifest.settings, "settings")
    kind = fields.text("kind")
    if kind not in KINDS:
        raise ManifestError(f"'kind' must be one of {', '.join(KINDS)}, not {kind[:100]!r}")
    settings = EncoderSettings(
        kind=kind,
        labels=fields.texts("labels"),
        num_outputs=fields.integer("num_outputs", 1, MAX_OUTPUTS),
        num_types=fields.integer("num_types", 0, 2),
        max_input_len=fields.integer("max_input_len", 4, MAX_LENGTH),
        takes_pairs=kind in PAIR_KINDS and fields.integer("takes_pairs", 0, 1) == 1,
        texts_per_call=fields.integer("texts_per_call", 1, MAX_TEXTS),
    )
    if kind == "regression" and "spread" in manifest.settings:
        fields.number("center", -MAX_NUMBER, MAX_NUMBER)
        fields.number("spread", 1 / MAX_NUMBER, MAX_NUMBER)
    _check_labels(settings)
    for test in manifest.self_tests:
        _check_length("input_ids", test.input_ids, settings.max_input_len)
        per_token = len(test.input_ids) if kind == "tagging" else 1
        wanted = per_token * settings.num_outputs
        # without ids, the place of an example is held
        if test.input_ids and len(test.answer) != wanted:
            raise ManifestError(f"'answer' must hold {wanted} numbers, not {len(test.answer)}")
    return settings


def _check_labels(settings: EncoderSettings) -> None:
    labels = settings.labels
    if not all(map(is_one_line, labels)) or len(set(labels)) < len(labels):
        raise ManifestError("'labels' must differ, and each be text of one line")
    least = MIN_LABELS.get(settings.kind, 0)
    if least and (len(labels) < least or len(labels) != settings.num_outputs):
        raise ManifestError(f"'labels' must name all {settings.num_outputs} outputs, 2 or more")
    if not least and labels:
        raise ManifestError(f"'labels' must be empty for {settings.kind}")
    if settings.kind == "regression" and settings.num_outputs != 1:
        raise ManifestError("'num_outputs' must be 1 for regression")
    tags = [tag for tag in labels if settings.kind == "tagging" and tag != OUTSIDE]
    if not all(tag[:2] in ("B-", "I-") for tag in tags):
        raise ManifestError("'labels' of tagging must be O, or begin with B- or I-")


def _check_length(key: str, ids: tuple[int, ...] | tuple[float, ...], most: int) -> None:
    if len(ids) > most:
        raise ManifestError(f"'{key}' must be a list of at most {most} ids")
