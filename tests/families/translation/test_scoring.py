"""Pairs on which networks are compared: the references score 100, and a limit keeps the short."""

import pytest
from bundles import sentences

from mosdeploy.config import load_recipe
from mosdeploy.config.translation import TranslationExportConfig, TranslationRunConfig
from mosdeploy.errors import ConfigError
from mosdeploy.families.translation.scoring import scored_examples
from mosdeploy.families.translation.tokenizer import Tokenizer, train_tokenizer
from mosdeploy.spaces.translation_workload import TranslationWorkload

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
