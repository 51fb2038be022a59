"""What a manifest says of each family: it is read, or what is wrong is named."""

from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import LIMITS
from encoder_bundles import edit_manifest

from mosdeploy.runtime import BundleError, Encoder, ManifestError, Translator
from mosdeploy.runtime.manifest import read_manifest
from mosdeploy.runtime.settings import (
    EncoderSettings,
    TranslationSettings,
    read_encoder,
    read_translation,
)


def test_a_translation_reads_what_export_wrote(fp32_bundle: Path) -> None:
    assert read_translation(read_manifest(fp32_bundle)) == TranslationSettings(
        pad_id=0,
        bos_id=2,
        eos_id=3,
        beam=1,
        length_penalty=LIMITS.length_penalty,
        max_source_len=LIMITS.max_source_len,
        max_decode_steps=LIMITS.max_decode_steps,
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("beam", 0, "'beam' must be a whole number from 1 to 64"),
        ("length_penalty", -0.5, "'length_penalty' must be a number from 0 to 10"),
        ("length_penalty", float("nan"), "'length_penalty' must be a number"),
        ("bos_id", 64, "'bos_id' must be a whole number from 0 to 63"),
        ("eos_id", 0, "must differ"),
        ("max_source_len", 1, "'input_ids' must be a list of at most 1 ids"),
        ("max_decode_steps", 1, "'answer' must be a list of at most 1 ids"),
        ("max_decode_steps", 10**9, "'max_decode_steps' must be"),
    ],
)
def test_a_wrong_setting_of_a_translation_is_named(
    bundle: Path, edit: Callable, key: str, value: object, message: str
) -> None:
    edit(lambda data: data["settings"].update({key: value}))
    with pytest.raises(ManifestError, match=message) as caught:
        Translator(bundle)
    assert "manifest.json" in str(caught.value) and caught.value.exit_code == 8


@pytest.mark.parametrize("key", ["beam", "length_penalty", "bos_id", "max_source_len"])
def test_a_missing_setting_is_named(bundle: Path, edit: Callable, key: str) -> None:
    edit(lambda data: data["settings"].pop(key))
    with pytest.raises(ManifestError, match=f"settings has no '{key}'"):
        Translator(bundle)


def test_what_the_runtime_does_not_need_is_not_read(bundle: Path, edit: Callable) -> None:
    edit(lambda data: data["settings"].update(source_lang=[1], colour=None))
    Translator(bundle, threads=1)


def test_an_encoder_reads_what_export_wrote(encoder_bundle: Path) -> None:
    settings = read_encoder(read_manifest(encoder_bundle))
    assert settings == EncoderSettings(
        kind="classification",
        labels=("bad", "fair", "good"),
        num_outputs=3,
        num_types=2,
        max_input_len=10,
        takes_pairs=True,
    )
    assert settings.inputs == ("input_ids", "attention_mask", "token_type_ids")
    assert settings.output == "logits"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("kind", "masked-lm", "'kind' must be one of classification, .* not 'masked-lm'"),
        ("kind", "regression", "'labels' must be empty for regression"),
        ("labels", ["bad", "good"], "'labels' must name all 3 outputs"),
        ("labels", ["bad", 1, "good"], "'labels' must be a text"),
        ("labels", ["bad", "bad", "good"], "'labels' must differ, and each be text of one line"),
        ("labels", ["bad", "fa\nir", "good"], "'labels' must differ, and each be text of one line"),
        ("labels", ["\x1b[31mbad", "fair", "good"], "'labels' must differ, and each be text"),
        ("num_types", 0, r"has inputs and outputs .* not \[\['input_ids', 'attention_mask'\]"),
        ("texts_per_call", 0, "'texts_per_call' must be a whole number from 1 to 1024"),
        ("max_input_len", 4, "'input_ids' must be a list of at most 4 ids"),
    ],
)
def test_a_wrong_setting_of_an_encoder_is_named(
    encoder_bundle: Path, key: str, value: object, message: str
) -> None:
    edit_manifest(encoder_bundle, lambda data: data["settings"].update({key: value}))
    with pytest.raises(BundleError, match=message):
        Encoder(encoder_bundle)


def test_tags_and_answers_must_fit_the_settings(encoder_bundle: Path) -> None:
    edit_manifest(encoder_bundle, lambda data: data["settings"].update(kind="tagging"))
    with pytest.raises(ManifestError, match="of tagging must be O, or begin with B- or I-"):
        Encoder(encoder_bundle)
    edit_manifest(
        encoder_bundle,
        lambda data: (
            data["settings"].update(kind="classification"),
            data["self_test"][0].update(answer=[0.5]),
        ),
    )
    with pytest.raises(ManifestError, match="'answer' must hold 3 numbers, not 1"):
        Encoder(encoder_bundle)
