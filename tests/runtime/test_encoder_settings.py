from pathlib import Path

import pytest
from encoder_bundles import edit_manifest

from mosdeploy.runtime import BundleError, Encoder, ManifestError
from mosdeploy.runtime.encoder_settings import EncoderSettings, read_settings
from mosdeploy.runtime.manifest import read_manifest


def test_reads_what_export_wrote(encoder_bundle: Path) -> None:
    settings = read_settings(read_manifest(encoder_bundle))
    assert settings == EncoderSettings(
        kind="classification",
        labels=("bad", "fair", "good"),
        num_outputs=3,
        num_types=2,
        max_input_len=10,
        takes_pairs=True,
        learned_pairs=True,
    )
    assert settings.inputs == ("input_ids", "attention_mask", "token_type_ids")
    assert settings.output == "logits"


def test_a_bundle_that_does_not_say_how_many_texts_it_takes_takes_one(
    encoder_bundle: Path,
) -> None:
    edit_manifest(encoder_bundle, lambda data: data["settings"].update(texts_per_call=4))
    assert read_settings(read_manifest(encoder_bundle)).texts_per_call == 4
    edit_manifest(encoder_bundle, lambda data: data["settings"].pop("texts_per_call"))
    assert read_settings(read_manifest(encoder_bundle)).texts_per_call == 1


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
        ("num_outputs", 0, "'num_outputs' must be a whole number from 1"),
        ("num_types", 3, "'num_types' must be a whole number from 0 to 2"),
        ("num_types", 0, r"has inputs and outputs .* not \[\['input_ids', 'attention_mask'\]"),
        ("takes_pairs", 2, "'takes_pairs' must be a whole number from 0 to 1"),
        ("texts_per_call", 0, "'texts_per_call' must be a whole number from 1 to 1024"),
        ("max_input_len", 4, "'input_ids' must be a list of at most 4 ids"),
    ],
)
def test_a_wrong_setting_is_named(
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
