"""BLEU and chrF of translations."""

from collections.abc import Sequence

import sacrebleu

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
