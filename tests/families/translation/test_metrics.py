import pytest

from mosdeploy.families.translation.metrics import bleu_chrf, words_of

REFERENCES = [
    "Das Menü enthält Befehle zum Einfügen.",
    "Seitenumbruch",
    "Der Ordner ist leer.",
]


def test_scores_of_the_reference_itself_and_of_noise() -> None:
    perfect = bleu_chrf(REFERENCES, REFERENCES)
    assert list(perfect) == ["BLEU", "chrF"]  # the first is the one that counts
    assert perfect == pytest.approx({"BLEU": 100.0, "chrF": 100.0})
    noise = bleu_chrf(["xyz"] * 3, REFERENCES)
    assert noise["BLEU"] < 1 and noise["chrF"] < 5


def test_bleu_by_hand() -> None:
    """Precisions 4/5, 3/4, 2/3, 1/2, no brevity penalty: (0.2) ** (1/4)."""
    scores = bleu_chrf(["a b c d x"], ["a b c d e"])
    assert scores["BLEU"] == pytest.approx(100 * 0.2**0.25)


@pytest.mark.parametrize(("hypotheses", "references"), [([], []), (["a"], ["a", "b"])])
def test_scores_refuse_unequal_numbers(hypotheses: list[str], references: list[str]) -> None:
    with pytest.raises(ValueError, match="hypotheses for"):
        bleu_chrf(hypotheses, references)


def test_a_language_without_spaces_has_words_of_its_own() -> None:
    reference, near = "\u6211\u4eec\u4fdd\u5b58\u6587\u4ef6", "\u6211\u4eec\u6253\u5f00\u6587\u4ef6"
    assert bleu_chrf([near], [reference])["BLEU"] == 0  # one word, which is wrong
    for lang in ("zh", "ja", "zho_Hans", "yue-Hant", "jpn_Jpan", "tha", "bur"):
        assert bleu_chrf([near] * 2, [reference, near], words_of(lang))["BLEU"] > 40
