"""What a manifest says of a translation bundle beyond what all bundles say."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import ManifestError
from .manifest import MAX_LENGTH, Fields, Manifest

MAX_BEAM = 64
MAX_LENGTH_PENALTY = 10.0


@dataclass(frozen=True)
class TranslationSettings:
    """Special token ids, the search, and the limits.

    Attributes
    ----------
    beam
        Hypotheses a sentence; 1 is greedy.
    length_penalty
        A hypothesis scores sum of log p / length ** length_penalty.
    max_source_len, max_decode_steps
        Most tokens of a source and of a translation, begin and end tokens not counted.
    """

    pad_id: int
    bos_id: int
    eos_id: int
    beam: int
    length_penalty: float
    max_source_len: int
    max_decode_steps: int


def read_settings(manifest: Manifest) -> TranslationSettings:
    """Read and check the settings, and that the self-test keeps their limits.

    Raises
    ------
    ManifestError
        If a value is missing, of the wrong type or out of range.
    """
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


def _check_length(key: str, ids: tuple[int, ...] | tuple[float, ...], most: int) -> None:
    if len(ids) > most:
        raise ManifestError(f"'{key}' must be a list of at most {most} ids")
