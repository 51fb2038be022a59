"""What a manifest says of an encoder's bundle beyond what all bundles say."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import ManifestError
from .manifest import MAX_LENGTH, Fields, Manifest
from .texts import is_one_line

KINDS = ("classification", "regression", "tagging", "embedding")
PAIR_KINDS = ("classification", "regression")
MAX_OUTPUTS = 2**16
MAX_TEXTS = 2**10
MAX_NUMBER = 1e38
MIN_LABELS = {"classification": 2, "tagging": 2}
CUT = "cut"
WINDOW = "window"
LONG = (CUT, WINDOW)
"""What may become of a line that is longer than the model takes."""

OUTSIDE = "O"
"""The tag of a word that belongs to nothing; all others begin with `B-` or `I-`."""


@dataclass(frozen=True)
class EncoderSettings:
    """The task, and the limits.

    Attributes
    ----------
    kind
        One of `KINDS`.
    labels
        Names of the outputs, in order: classes or tags; empty for the other kinds.
    num_outputs
        Numbers in an answer: to each token for tagging, to the whole text otherwise.
    num_types
        Token types that the model knows; 0 where it has no such input.
    max_input_len
        Most tokens of a text, special ones included; longer texts are cut, or read in windows.
    takes_pairs
        Whether a tab separates two texts that are judged together, as the model has learned it;
        never for tagging and embedding. A bundle of another kind that does not say so takes them.
    learned_pairs
        Whether the bundle says that it was trained on such texts.
    texts_per_call
        How many texts a quantised model was made to take at a time and answer as each alone; a
        bundle that does not say so takes one.
    """

    kind: str
    labels: tuple[str, ...]
    num_outputs: int
    num_types: int
    max_input_len: int
    takes_pairs: bool
    learned_pairs: bool = False
    texts_per_call: int = 1

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the model's inputs, in order."""
        types = ("token_type_ids",) if self.num_types else ()
        return ("input_ids", "attention_mask", *types)

    @property
    def output(self) -> str:
        """Name of the model's output."""
        return "vector" if self.kind == "embedding" else "logits"


def read_settings(manifest: Manifest) -> EncoderSettings:
    """Read and check the settings, and that the self-test keeps their limits.

    Raises
    ------
    ManifestError
        If a value is missing, of the wrong type or out of range.
    """
    fields = Fields(manifest.settings, "settings")
    kind = fields.text("kind")
    settings = EncoderSettings(
        kind=kind,
        labels=fields.texts("labels"),
        num_outputs=fields.integer("num_outputs", 1, MAX_OUTPUTS),
        num_types=fields.integer("num_types", 0, 2),
        max_input_len=fields.integer("max_input_len", 4, MAX_LENGTH),
        takes_pairs=kind in PAIR_KINDS
        and ("takes_pairs" not in manifest.settings or fields.integer("takes_pairs", 0, 1) == 1),
        learned_pairs=manifest.settings.get("takes_pairs") == 1,
        texts_per_call=(
            fields.integer("texts_per_call", 1, MAX_TEXTS)
            if "texts_per_call" in manifest.settings
            else 1
        ),
    )
    if kind == "regression" and "spread" in manifest.settings:
        fields.number("center", -MAX_NUMBER, MAX_NUMBER)
        fields.number("spread", 1 / MAX_NUMBER, MAX_NUMBER)
    if settings.kind not in KINDS:
        raise ManifestError(
            f"'kind' must be one of {', '.join(KINDS)}, not {settings.kind[:100]!r}"
        )
    _check_labels(settings)
    for test in manifest.self_tests:
        if len(test.input_ids) > settings.max_input_len:
            raise ManifestError(
                f"'input_ids' must be a list of at most {settings.max_input_len} ids"
            )
        # without ids, the place of an example is held
        per_token = len(test.input_ids) if settings.kind == "tagging" else 1
        if test.input_ids and len(test.answer) != per_token * settings.num_outputs:
            raise ManifestError(
                f"'answer' must hold {per_token * settings.num_outputs} numbers, "
                f"not {len(test.answer)}"
            )
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
