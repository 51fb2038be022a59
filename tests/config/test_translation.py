import pytest
from example_spaces import TINY

from mosdeploy.config import load_recipe
from mosdeploy.config.translation import (
    CorpusConfig,
    TranslationRunConfig,
)
from mosdeploy.errors import ConfigError
from mosdeploy.record import parse
from mosdeploy.spaces import ModelSpec
from mosdeploy.spaces.translation import TranslationWorkload


def test_the_spec_is_space_vocabulary_and_workload():
    corpus = CorpusConfig(train="data/train", vocab_size=64)
    config = TranslationRunConfig(corpus=corpus, space=TINY)
    assert config.spec == ModelSpec(TINY, 64, TranslationWorkload())


def test_a_run_file_there_and_back():
    config = load_recipe("tiny")
    assert parse(TranslationRunConfig, config.model_dump(mode="json"), "test") == config


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"train": "x", "format": "csv"}, "format"),
        ({"train": "x", "valid_fraction": -0.1}, "valid_fraction"),
        ({"train": "x", "vocab_size": 31}, "vocab_size"),
    ],
)
def test_a_corpus_out_of_range_names_its_key(data, key):
    with pytest.raises(ConfigError, match=f"'{key}'"):
        parse(CorpusConfig, data, "mosdeploy.toml")


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("export", {"trim_vocabulary": True}, "trim_vocabulary: the vocabulary of a translation"),
        ("export", {"vocabulary_texts": "x"}, "vocabulary_texts: the vocabulary of a translation"),
        ("export", {"length_penalty": 10.5}, "'export.length_penalty'"),
    ],
)
def test_what_does_not_fit_is_named(section, changes, message):
    data = load_recipe("tiny").model_dump(mode="json")
    data[section] |= changes
    with pytest.raises(ConfigError, match=message):
        parse(TranslationRunConfig, data, "mosdeploy.toml")
