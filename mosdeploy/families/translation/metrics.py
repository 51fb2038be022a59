"""BLEU and chrF of translations."""

from collections.abc import Sequence

import sacrebleu


def bleu_chrf(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Corpus BLEU and chrF, 0 to 100, as the sacrebleu command prints them with its default
    options.

    BLEU: 13a tokeniser, case-sensitive, exponential smoothing. chrF: chrF2, character order 6, no
    word n-grams (the sacrebleu signature chrF2). One reference a hypothesis.

    Returns
    -------
    dict
        The scores `BLEU` and `chrF`, in this order.

    Raises
    ------
    ValueError
        If there are none, or not as many of one as of the other.

    Examples
    --------
    >>> scores = bleu_chrf(["the house is small"], ["the house is large"])
    >>> {name: round(score, 1) for name, score in scores.items()}
    {'BLEU': 59.5, 'chrF': 61.5}
    """
    if not hypotheses or len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
    bleu = sacrebleu.corpus_bleu(list(hypotheses), [list(references)])
    chrf = sacrebleu.corpus_chrf(list(hypotheses), [list(references)])
    return {"BLEU": bleu.score, "chrF": chrf.score}
