"""What a manifest says of a bundle beyond what all bundles say, family by family."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import ManifestError
from .manifest import MAX_LENGTH, Fields, Manifest
from .texts import is_one_line

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
