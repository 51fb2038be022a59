"""Does the exported model translate as the trained network does?

In: a model file, and validation sentences with the means to translate and score them in torch
(callables of the pipeline, as rooms do not import one another). Out: a `ParityReport`, or an
ExportError. This file writes nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime

from ..config.sections import ExportConfig
from ..errors import ExportError
from ..families.translation.onnx_graph import OUTPUT_IDS, SOURCE_IDS
from ..records import ParityReport, Runtime
from ..spaces.spec import Precision
from .onnx.decoding import EOS_ID, MAX_STEPS, MIN_STEPS, PAD_ID

BATCH_ROWS = 16


@dataclass(frozen=True)
class ParitySet:
    """Validation sentences, and how to translate, spell and score them.

    Attributes
    ----------
    sources
        The sentences as text.
    source_ids
        Their piece ids, without end token.
    reference
        The trained subnet in torch: piece ids to piece ids, at the beam, length penalty and most
        steps of the export.
    decode
        Piece ids to text.
    bleu
        Translations of all sentences, as text, to corpus BLEU (0 to 100).
    """

    sources: Sequence[str]
    source_ids: Sequence[Sequence[int]]
    reference: Callable[[list[list[int]]], list[list[int]]]
    decode: Callable[[list[int]], str]
    bleu: Callable[[list[str]], float]


class Translates(Protocol):
    """An exported model."""

    def translate(self, sources: Sequence[Sequence[int]]) -> list[list[int]]:
        """Translate piece ids (without end) into piece ids."""


class ExportedModel:
    """A model file in ONNX Runtime.

    Raises
    ------
    ExportError
        If ONNX Runtime cannot load it.
    """

    runtime: Runtime = "onnxruntime"
    processor = None

    def __init__(self, path: Path, max_steps: int) -> None:
        self._max_steps = max_steps
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors have no common base but this
            raise ExportError(
                f"ONNX Runtime {onnxruntime.__version__} does not load the exported model: {error}"
            ) from error

    def translate(self, sources: Sequence[Sequence[int]]) -> list[list[int]]:
        """Translate piece ids (without end) into piece ids, padded together."""
        batch = np.full((len(sources), max(map(len, sources)) + 1), PAD_ID, np.int64)  # (B, S)
        for row, ids in enumerate(sources):
            batch[row, : len(ids) + 1] = [*ids, EOS_ID]
        feed = {SOURCE_IDS: batch, MAX_STEPS: np.array(self._max_steps), MIN_STEPS: np.array(0)}
        rows = self._session.run([OUTPUT_IDS], feed)[0].tolist()
        return [row[: row.index(EOS_ID)] if EOS_ID in row else row for row in rows]


def check_parity(
    model: Translates, pairs: ParitySet, config: ExportConfig, precision: Precision
) -> ParityReport:
    """Translate the sentences in torch and with the model, padded in batches, and compare.

    Raises
    ------
    ExportError
        fp32: if one id differs. Otherwise: if BLEU is lower than in torch by more than
        `config.max_score_drop`.
    """
    sources = [list(ids) for ids in pairs.source_ids]
    expected, found = pairs.reference(sources), translate_all(model, sources)
    same = [a == b for a, b in zip(expected, found, strict=True)]
    report = ParityReport(
        num_pairs=len(sources),
        identical=sum(same),
        torch_bleu=pairs.bleu([pairs.decode(ids) for ids in expected]),
        bundle_bleu=pairs.bleu([pairs.decode(ids) for ids in found]),
    )
    if precision == "fp32" and not all(same):
        first = same.index(False)
        raise ExportError(
            f"the exported model translates {len(same) - sum(same)} of {len(same)} validation sentences differently "
            f"from torch; the first is {pairs.sources[first]!r}: torch {expected[first]}, model {found[first]}. "
            "No bundle was written; please report this with the architecture"
        )
    drop = report.torch_bleu - report.bundle_bleu
    if drop > config.max_score_drop:
        raise ExportError(
            f"{precision} costs {drop:.2f} BLEU on {len(same)} validation sentences ({report.torch_bleu:.2f} in torch, "
            f"{report.bundle_bleu:.2f} in the model), at most {config.max_score_drop:g} is allowed. "
            "No bundle was written; raise export.max_score_drop, or export fp32"
        )
    return report


def translate_all(model: Translates, sources: Sequence[Sequence[int]]) -> list[list[int]]:
    """Translate piece ids, those of like length in one padded batch; the answers in the order
    given.
    """
    answers: list[list[int]] = [[] for _ in sources]
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    for start in range(0, len(order), BATCH_ROWS):
        group = order[start : start + BATCH_ROWS]
        for index, ids in zip(group, model.translate([sources[i] for i in group]), strict=True):
            answers[index] = ids
    return answers
