"""Run files and recipes, in the words of their family."""

from pathlib import Path

import pytest

import mosdeploy
from mosdeploy.config import load_recipe, load_run_config
from mosdeploy.errors import ConfigError

RECIPES = sorted(path.stem for path in (Path(mosdeploy.__file__).parent / "recipes").glob("*.toml"))

MINIMAL = """
[corpus]
train = "data/train"
[space]
encoder_embed_dim = [8]
decoder_embed_dim = [8]
encoder_layers = [1]
decoder_layers = [1]
encoder_ffn_dim = [16]
decoder_ffn_dim = [16]
encoder_heads = [2]
decoder_self_heads = [2]
decoder_cross_heads = [2]
qkv_dim = 8
"""


@pytest.fixture
def load(tmp_path):
    def call(text):
        path = tmp_path / "mosdeploy.toml"
        path.write_text(text)
        return load_run_config(path)

    return call


def test_without_a_family_it_is_a_translation(load):
    assert load(MINIMAL).family == "translation"
    assert load('family = "translation"\n' + MINIMAL) == load(MINIMAL)


@pytest.mark.parametrize("family", ['"translatoin"', "3", "[]"])
def test_an_unknown_family_names_the_known_ones(load, family):
    with pytest.raises(ConfigError, match=r"unknown family .*; known: .*translation"):
        load(f"family = {family}\n" + MINIMAL)


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_is_valid(name):
    spec = load_recipe(name).spec
    spec.space.check(spec.space.largest)
    assert 0 < spec.num_parameters(spec.space.smallest) < spec.num_parameters(spec.space.largest)


def test_recipes_are_there():
    assert {"tiny", "wmt14.en-de", "wmt14.en-fr", "wmt19.en-de", "iwslt14.de-en"} <= set(RECIPES)
