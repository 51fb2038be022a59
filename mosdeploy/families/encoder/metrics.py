"""Metrics of texts' classes, numbers, tags and vectors, in percent; higher is better. (But not of
the mean absolute error.)

In: answers and references. Out: metrics by name; the first one counts. Metrics of classes
are scikit-learn's, ranks SciPy's.
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
    """Accuracy, macro F1 and Matthews' correlation coefficient.

    Macro F1 is the mean over the classes that are answered or right at least once. Matthews'
    coefficient, for any number of classes (Gorodkin 2004), is 0 where one side has one class only.

    Raises
    ------
    ValueError
        If there are none, or not as many of one as of the other.

    Examples
    --------
    >>> scores = classification_metrics([0, 1, 1, 1], [0, 0, 1, 1])
    >>> {name: round(score, 1) for name, score in scores.items()}
    {'accuracy': 75.0, 'macro F1': 73.3, 'MCC': 57.7}
    """
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

    Raises
    ------
    ValueError
        If there are none, or not as many of one as of the other.

    Examples
    --------
    >>> {name: round(x, 1) for name, x in regression_metrics([1, 2, 9], [1, 2, 3]).items()}
    {'Pearson': 91.8, 'Spearman': 100.0, 'concordance': 30.8, 'MAE': 2.0}
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

    Parameters
    ----------
    answers, references
        Tags `O`, `B-TYPE`, `I-TYPE` of the words of each text.

    Raises
    ------
    ValueError
        If there are none, or not as many of one as of the other.

    Examples
    --------
    >>> tagging_metrics([["B-UI", "O", "B-UI"]], [["B-UI", "O", "O"]])["precision"]
    50.0
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
    """Entities in the tags of a text. An I-TYPE that follows no word of its type begins one.

    Examples
    --------
    >>> sorted(entities(["B-UI", "I-UI", "B-UI", "O", "I-KEY"]))
    [('KEY', 4, 5), ('UI', 0, 2), ('UI', 2, 3)]
    """
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
    """How well vectors (N, d) keep a teacher's similarities, and how near to its own they are.

    `similarity` is Spearman's correlation between the cosines of all pairs of the first
    `MAX_PAIRED_TEXTS` texts; `cosine` the mean cosine of a vector with the teacher's of the same
    text.

    Raises
    ------
    ValueError
        If there are none, or not as many of one as of the other.
    """
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
