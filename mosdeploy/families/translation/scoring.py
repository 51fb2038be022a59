"""Sentence pairs on which networks are compared by BLEU and chrF."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from ...config.translation import TranslationRunConfig
from ...errors import ConfigError
from ...export.parity import Shortcut
from ...family import ScoredExamples
from ...spaces.translation_workload import TranslationWorkload
from .decoding import translate
from .graph_options import TranslationGraphOptions
from .metrics import USUAL_WORDS, bleu_chrf, words_of
from .shortlist import Shortlist
from .tokenizer import Tokenizer

_ADVICE = (
    "list more tokens (--shortlist 100), raise export.max_shortlist_drop, or score the whole "
    "vocabulary (--shortlist 0)"
)


def scored_examples(
    tokenizer: Tokenizer,
    pairs: Sequence[tuple[str, str]],
    config: TranslationRunConfig,
    workload: TranslationWorkload,
    limit: int | None = None,
    options: TranslationGraphOptions | None = None,
) -> ScoredExamples:
    """Source sentences with their references, translated at the beam of a workload."""
    limits = config.export
    ids = tokenizer.encode_many([source for source, _ in pairs])
    rows = list(range(len(pairs)))
    if limit is not None:
        rows = [i for i in rows if len(ids[i]) <= limits.max_source_len][:limit]
        if pairs and not rows:
            raise ConfigError(
                f"none of {len(pairs)} sources has at most export.max_source_len = "
                f"{limits.max_source_len} tokens, the most that a bundle takes; raise it"
            )
    references = [pairs[i][1] for i in rows]

    words = words_of(config.corpus.target_lang)
    setup = "greedy" if workload.beam == 1 else f"beam {workload.beam}"
    shortlist = options.shortlist if options else None

    def predict(
        subnet: Any, sources: list[list[int]], allowed: Shortlist | None = shortlist
    ) -> list[list[int]]:
        steps = limits.max_decode_steps
        penalty = limits.length_penalty
        return translate(subnet, sources, workload.beam, steps, penalty, shortlist=allowed)

    return ScoredExamples(
        inputs=[pairs[i][0] for i in rows],
        input_ids=[ids[i] for i in rows],
        predict=predict,
        decode=tokenizer.decode,
        metrics=lambda outputs: bleu_chrf(outputs, references, words),
        metric="BLEU",
        setup=setup if words == USUAL_WORDS else f"{setup}, BLEU of sacrebleu's tokeniser {words}",
        shortcut=Shortcut(
            name=f"a shortlist of {workload.shortlist}",
            exact=partial(predict, allowed=None),
            max_drop=limits.max_shortlist_drop,
            advice=_ADVICE,
        )
        if shortlist
        else None,
    )
