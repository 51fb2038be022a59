"""Sentence pairs on which networks are compared by BLEU and chrF."""

from collections.abc import Sequence
from typing import Any

from ...config.translation import TranslationRunConfig
from ...family import ScoredExamples
from ...spaces.translation import TranslationWorkload
from .decoding import translate
from .metrics import bleu_chrf
from .tokenizer import Tokenizer


def scored_examples(
    tokenizer: Tokenizer,
    pairs: Sequence[tuple[str, str]],
    config: TranslationRunConfig,
    workload: TranslationWorkload,
    limit: int | None = None,
) -> ScoredExamples:
    """Source sentences with their references, translated at the beam of a workload.

    Parameters
    ----------
    limit
        At most so many pairs, the first whose source is no longer than a bundle takes; None takes
        all.
    """
    limits = config.export
    ids = tokenizer.encode_many([source for source, _ in pairs])
    rows = list(range(len(pairs)))
    if limit is not None:
        rows = [i for i in rows if len(ids[i]) <= limits.max_source_len][:limit]
    references = [pairs[i][1] for i in rows]

    def predict(subnet: Any, sources: list[list[int]]) -> list[list[int]]:
        return translate(
            subnet, sources, workload.beam, limits.max_decode_steps, limits.length_penalty
        )

    return ScoredExamples(
        inputs=[pairs[i][0] for i in rows],
        input_ids=[ids[i] for i in rows],
        predict=predict,
        decode=tokenizer.decode,
        metrics=lambda outputs: bleu_chrf(outputs, references),
        metric="BLEU",
        setup="greedy" if workload.beam == 1 else f"beam {workload.beam}",
    )
