"""Sentence pairs on which networks are compared by BLEU and chrF."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import sacrebleu

from ...config.translation import TranslationRunConfig
from ...errors import ConfigError
from ...export.parity import Shortcut
from ...family import ScoredExamples
from ...spaces.translation import TranslationWorkload
from .decoding import translate
from .shortlist import Shortlist, TranslationGraphOptions
from .tokenizer import Tokenizer

USUAL_WORDS = "13a"
_WORDS = dict.fromkeys(("zh", "zho", "chi", "cmn", "yue", "wuu"), "zh") | dict.fromkeys(
    ("ja", "jpn", "th", "tha", "lo", "lao", "km", "khm", "my", "mya", "bur"), "char"
)
"""By target language that has no spaces between words, as two letters or three, what tells its
words apart for BLEU: 13a would take a clause for a word. sacrebleu's own choice for Japanese
needs a package.
"""


def words_of(target_lang: str) -> str:
    """Name sacrebleu's tokeniser of a target language."""
    return _WORDS.get(target_lang.replace("-", "_").partition("_")[0].lower(), USUAL_WORDS)


def bleu_chrf(
    hypotheses: Sequence[str], references: Sequence[str], words: str = USUAL_WORDS
) -> dict[str, float]:
    """Corpus BLEU and chrF, 0 to 100, as the sacrebleu command prints them with its default
    options.
    """
    if not hypotheses or len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
    bleu = sacrebleu.corpus_bleu(list(hypotheses), [list(references)], tokenize=words)
    chrf = sacrebleu.corpus_chrf(list(hypotheses), [list(references)])
    return {"BLEU": bleu.score, "chrF": chrf.score}


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
