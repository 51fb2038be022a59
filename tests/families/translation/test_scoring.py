"""Pairs on which networks are compared: the references score 100, and a limit keeps the short."""

import pytest
from bundles import sentences

from mosdeploy.config import load_recipe
from mosdeploy.config.translation import TranslationExportConfig, TranslationRunConfig
from mosdeploy.errors import ConfigError
from mosdeploy.families.translation.scoring import bleu_chrf, scored_examples, words_of
from mosdeploy.families.translation.tokenizer import Tokenizer, train_tokenizer
from mosdeploy.spaces.translation import TranslationWorkload

PAIRS = [(text, text) for text in sentences(400, 0)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    train_tokenizer(PAIRS, 64, path)
    return Tokenizer(path)


def config_of(max_source_len: int) -> TranslationRunConfig:
    limits = TranslationExportConfig(max_source_len=max_source_len, max_decode_steps=40)
    return load_recipe("tiny").model_copy(update={"export": limits})


def test_the_references_are_perfect_and_others_are_not(tokenizer: Tokenizer) -> None:
    scored = scored_examples(tokenizer, PAIRS[:40], config_of(64), TranslationWorkload())
    assert len(scored) == 40
    assert scored.inputs == [source for source, _ in PAIRS[:40]]
    answers = [scored.decode(list(ids)) for ids in scored.input_ids]
    assert scored.metrics(answers) == pytest.approx({"BLEU": 100.0, "chrF": 100.0})
    assert scored.metrics(answers[1:] + answers[:1])["BLEU"] < 50
    assert scored.metric == "BLEU"


def test_a_limit_takes_the_first_that_a_bundle_takes(tokenizer: Tokenizer) -> None:
    scored = scored_examples(tokenizer, PAIRS, config_of(12), TranslationWorkload(), limit=5)
    lengths = [len(tokenizer.encode(source)) for source, _ in PAIRS]
    fitting = [source for (source, _), n in zip(PAIRS, lengths, strict=True) if n <= 12]
    assert max(lengths) > 12
    assert scored.inputs == fitting[:5]


def test_the_beam_of_the_workload_is_told(tokenizer: Tokenizer) -> None:
    setups = [
        scored_examples(tokenizer, PAIRS[:2], config_of(64), TranslationWorkload(beam=beam)).setup
        for beam in (1, 4)
    ]
    assert setups == ["greedy", "beam 4"]


def test_sources_that_are_all_too_long_for_a_bundle_are_told(tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="none of 400 sources has at most"):
        scored_examples(tokenizer, PAIRS, config_of(1), TranslationWorkload(), limit=5)


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
