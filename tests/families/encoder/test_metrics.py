"""Metrics of the field: the same as scipy's, and numbers worked by hand."""

import numpy as np
import pytest
from scipy import stats

from mosdeploy.families.encoder.metrics import (
    classification_metrics,
    embedding_metrics,
    entities,
    regression_metrics,
    tagging_metrics,
)


def test_one_answer_for_all_has_no_correlation() -> None:
    scores = classification_metrics([0, 0, 0, 0], [0, 0, 0, 1])
    # F1 of the first class 6 / 7, of the second 0
    assert scores == pytest.approx({"accuracy": 75.0, "macro F1": 300 / 7, "MCC": 0.0})
    assert classification_metrics([1], [1]) == {"accuracy": 100.0, "macro F1": 100.0, "MCC": 0.0}


def test_regression_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    wanted = np.round(rng.normal(size=50), 1)  # with ties
    found = np.round(wanted + rng.normal(size=50), 1)
    scores = regression_metrics(found.tolist(), wanted.tolist())
    assert list(scores) == ["Pearson", "Spearman", "concordance", "MAE"]
    wanted_scores = [stats.pearsonr(found, wanted)[0], stats.spearmanr(found, wanted)[0]]
    correlations = [scores["Pearson"], scores["Spearman"]]
    assert correlations == pytest.approx([100 * x for x in wanted_scores])
    # on the scale of the numbers
    assert regression_metrics([10.0, 40.0], [20.0, 40.0])["MAE"] == 5.0


def test_concordance_sees_what_correlations_do_not() -> None:
    rng = np.random.default_rng(0)
    wanted = rng.normal(size=50)
    for moved in (wanted + 1, 2 * wanted):
        scores = regression_metrics(moved.tolist(), wanted.tolist())
        assert scores["Pearson"] == pytest.approx(100)
        assert scores["concordance"] < 90
    # by its definition; variances over n, as Lin has them
    found = wanted + rng.normal(size=50)
    both = np.cov(found, wanted, bias=True)
    expected = 2 * both[0, 1] / (both[0, 0] + both[1, 1] + (found.mean() - wanted.mean()) ** 2)
    scores = regression_metrics(found.tolist(), wanted.tolist())
    assert scores["concordance"] == pytest.approx(100 * expected)
    assert regression_metrics([3.0] * 2, [3.0] * 2)["concordance"] == 0


def test_constant_answers_have_no_correlation() -> None:
    none = {"Pearson": 0.0, "Spearman": 0.0, "concordance": 0.0}
    assert regression_metrics([2.0] * 3, [1, 2, 6]) == {**none, "MAE": 5 / 3}
    assert regression_metrics([1], [2]) == {**none, "MAE": 1.0}


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        ("O O", []),
        ("B-A I-A O B-A", [("A", 0, 2), ("A", 3, 4)]),
        ("B-A B-A", [("A", 0, 1), ("A", 1, 2)]),
        ("B-A I-B", [("A", 0, 1), ("B", 1, 2)]),
        ("I-A I-A", [("A", 0, 2)]),
        ("B-A-B I-A-B", [("A-B", 0, 2)]),
    ],
)
def test_entities_by_hand(tags: str, wanted: list[tuple[str, int, int]]) -> None:
    assert entities(tags.split()) == set(wanted)


def test_tagging_by_hand() -> None:
    """Two of three found are right, two of four wanted are found."""
    references = ["B-A I-A O B-B", "O B-A B-A"]
    answers = ["B-A I-A O B-A", "O O B-A"]
    scores = tagging_metrics([x.split() for x in answers], [x.split() for x in references])
    assert scores == pytest.approx({"F1": 400 / 7, "precision": 200 / 3, "recall": 50.0})
    perfect = tagging_metrics([x.split() for x in references], [x.split() for x in references])
    assert perfect == {"F1": 100.0, "precision": 100.0, "recall": 100.0}
    assert tagging_metrics([["O"]], [["O"]]) == {"F1": 0.0, "precision": 0.0, "recall": 0.0}


def test_similarities_do_not_depend_on_rotation_or_scale() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20, 3))
    rotation = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    scores = embedding_metrics(5 * vectors @ rotation, vectors)
    assert scores["similarity"] == pytest.approx(100)
    assert scores["cosine"] < 90
    assert embedding_metrics(vectors, vectors) == pytest.approx({"similarity": 100, "cosine": 100})


def test_embeddings_by_hand() -> None:
    """Cosines of the pairs: 0, 0.6, 0.8 of the teacher, 0.8, 0.6, 0 of the student."""
    teacher = np.array([[1.0, 0], [0, 1], [0.6, 0.8]])
    student = np.array([[1.0, 0], [0.8, 0.6], [0.6, -0.8]])
    scores = embedding_metrics(student, teacher)
    assert scores["similarity"] == pytest.approx(-100)
    assert scores["cosine"] == pytest.approx(100 * (1 + 0.6 - 0.28) / 3)


def test_answers_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="1 answers for 2 references"):
        classification_metrics([1], [1, 0])
    with pytest.raises(ValueError, match="0 answers for 0 references"):
        regression_metrics([], [])
    with pytest.raises(ValueError, match="1 answers for 2 references"):
        tagging_metrics([["O"]], [["O", "O"]])
