"""Metrics of texts' classes, numbers, tags and vectors, in percent; higher is better. (But not of
the mean absolute error.)
"""

from collections.abc import Sequence, Sized

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Entity = tuple[str, int, int]
"""Type, first word, and the word after the last."""

MAX_PAIRED_TEXTS = 1000
"""Half a million pairs: their ranks are sorted in a second."""


def classification_metrics(answers: Sequence[int], references: Sequence[int]) -> dict[str, float]:
    """Accuracy, macro F1 and Matthews' correlation coefficient."""
    from sklearn import metrics  # takes a second, which no other task waits for

    _check_lengths(answers, references)
    has_two = len({*answers, *references}) > 1  # classes; of one alone scikit-learn warns
    return {
        "accuracy": 100 * float(metrics.accuracy_score(references, answers)),
        "macro F1": 100 * float(metrics.f1_score(references, answers, average="macro")),
        "MCC": 100 * float(metrics.matthews_corrcoef(references, answers)) if has_two else 0.0,
    }


def regression_metrics(answers: Sequence[float], references: Sequence[float]) -> dict[str, float]:
    """Pearson's and Spearman's correlation coefficients, 0 where one side is constant; the
    concordance, which is lower than Pearson's where answers have another mean or spread than the
    references (Lin, Biometrics 1989); and the mean absolute error (MAE), on the scale of the
    references, of which lower is better.
    """
    _check_lengths(answers, references)
    found, wanted = (np.asarray(side, dtype=np.float64) for side in (answers, references))
    return {
        "Pearson": 100 * _correlation(found, wanted),
        "Spearman": 100 * _rank_correlation(found, wanted),
        "concordance": 100 * _concordance(found, wanted),
        "MAE": float(np.abs(found - wanted).mean()),
    }


def tagging_metrics(
    answers: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """F1, precision and recall of entities, as the CoNLL script and seqeval count them: an entity
    is right if its type and both its ends are.
    """
    _check_lengths(answers, references)
    right = num_found = num_wanted = 0
    for answer, reference in zip(answers, references, strict=True):
        _check_lengths(answer, reference)
        found, wanted = entities(answer), entities(reference)
        right += len(found & wanted)
        num_found += len(found)
        num_wanted += len(wanted)
    precision = 100 * right / num_found if num_found else 0.0
    recall = 100 * right / num_wanted if num_wanted else 0.0
    both = num_found + num_wanted
    return {
        "F1": 200 * right / both if both else 0.0,
        "precision": precision,
        "recall": recall,
    }


def entities(tags: Sequence[str]) -> set[Entity]:
    """Entities in the tags of a text. An I-TYPE that follows no word of its type begins one."""
    found: set[Entity] = set()
    start, current = (0, "")
    for i, tag in enumerate([*tags, "O"]):
        place, _, kind = tag.partition("-")
        if place == "I" and kind == current:
            continue
        if current:
            found.add((current, start, i))
        start, current = (i, kind)
    return found


def embedding_metrics(answers: FloatArray, references: FloatArray) -> dict[str, float]:
    """How well vectors (N, d) keep a teacher's similarities, and how near to its own they are."""
    _check_lengths(answers, references)
    found, wanted = (
        side / np.linalg.norm(side, axis=1, keepdims=True) for side in (answers, references)
    )
    heads = (found[:MAX_PAIRED_TEXTS], wanted[:MAX_PAIRED_TEXTS])
    upper = np.triu_indices(len(heads[0]), 1)  # each pair once
    similarity = _rank_correlation(*((side @ side.T)[upper] for side in heads))
    return {
        "similarity": 100 * similarity,
        "cosine": 100 * float((found * wanted).sum(1).mean()),
    }


def _correlation(x: FloatArray, y: FloatArray) -> float:
    """Pearson's; 0 where there is no spread."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    dx, dy = x - x.mean(), y - y.mean()
    return float(dx @ dy / np.sqrt((dx @ dx) * (dy @ dy)))


def _concordance(x: FloatArray, y: FloatArray) -> float:
    """0 where one side is constant."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    return float(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def _rank_correlation(x: FloatArray, y: FloatArray) -> float:
    """Spearman's; 0 where there is no spread."""
    from scipy.stats import rankdata  # as slow to import

    return _correlation(rankdata(x), rankdata(y))


def _check_lengths(answers: Sized, references: Sized) -> None:
    if not len(answers) or len(answers) != len(references):
        raise ValueError(f"{len(answers)} answers for {len(references)} references")
