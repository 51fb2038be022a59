from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import LIMITS

from mosdeploy.runtime import ManifestError, Translator
from mosdeploy.runtime.manifest import read_manifest
from mosdeploy.runtime.translation_settings import TranslationSettings, read_settings


def test_reads_what_export_wrote(fp32_bundle: Path) -> None:
    assert read_settings(read_manifest(fp32_bundle)) == TranslationSettings(
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
        ("beam", True, "'beam' must be a whole number"),
        ("length_penalty", -0.5, "'length_penalty' must be a number from 0 to 10"),
        ("length_penalty", True, "'length_penalty' must be a number"),
        ("length_penalty", float("nan"), "'length_penalty' must be a number"),
        ("bos_id", 64, "'bos_id' must be a whole number from 0 to 63"),
        ("pad_id", -1, "'pad_id' must be a whole number from 0 to 63"),
        ("eos_id", 64, "'eos_id' must be a whole number from 0 to 63"),
        ("eos_id", 0, "must differ"),
        ("max_source_len", 0, "'max_source_len' must be"),
        ("max_source_len", 1, "'input_ids' must be a list of at most 1 ids"),
        ("max_decode_steps", 1, "'answer' must be a list of at most 1 ids"),
        ("max_decode_steps", 10**9, "'max_decode_steps' must be"),
        ("max_decode_steps", "10", "'max_decode_steps' must be"),
    ],
)
def test_a_wrong_value_is_named(
    bundle: Path, edit: Callable, key: str, value: object, message: str
) -> None:
    edit(lambda data: data["settings"].update({key: value}))
    with pytest.raises(ManifestError, match=message) as caught:
        Translator(bundle)
    assert "manifest.json" in str(caught.value) and caught.value.exit_code == 8


@pytest.mark.parametrize("key", ["beam", "length_penalty", "bos_id", "max_source_len"])
def test_a_missing_value_is_named(bundle: Path, edit: Callable, key: str) -> None:
    edit(lambda data: data["settings"].pop(key))
    with pytest.raises(ManifestError, match=f"settings has no '{key}'"):
        Translator(bundle)


def test_what_the_runtime_does_not_need_is_not_read(bundle: Path, edit: Callable) -> None:
    edit(lambda data: data["settings"].update(source_lang=[1], colour=None))
    Translator(bundle, threads=1)
