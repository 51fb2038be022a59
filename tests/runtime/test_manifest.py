import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import LIMITS
from encoder_bundles import edit_manifest

from mosdeploy.records import BundleManifest
from mosdeploy.runtime import BundleError, Encoder, FileMismatchError, ManifestError, Translator
from mosdeploy.runtime.manifest import (
    EncoderSettings,
    TranslationSettings,
    check_files,
    read_encoder,
    read_manifest,
    read_translation,
)


def test_reads_what_export_wrote(fp32_bundle: Path) -> None:
    found = read_manifest(fp32_bundle)
    written = BundleManifest.model_validate_json((fp32_bundle / "manifest.json").read_text())
    names = ("family", "name", "runtime", "precision", "settings", "vocab_size", "sha256")
    for name in names:
        assert getattr(found, name) == getattr(written, name)
    assert [vars(test) for test in found.self_tests] == [
        test.model_dump() for test in written.self_test
    ]
    check_files(fp32_bundle, found)


def one_test(**changed: object) -> list[dict[str, object]]:
    return [{"input": "", "input_ids": [], "answer": [], "output": "", **changed}]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("version", 1, "'version' is 1, and this runtime reads 2"),
        ("family", "vision", "'family' must be encoder or translation; nothing here runs"),
        ("runtime", "torch", "'runtime' must be onnxruntime or tvm"),
        ("runtime", "tvm", "'sha256' must name model.so and weights.bin and tokenizer.model"),
        ("name", "x" * 20_000, "'name' must be a text of at most"),
        ("settings", [], "'settings' must be an object"),
        ("workload", None, "workload must be an object"),
        ("workload", {"threads": 0}, "'threads' must be a whole number from 1 to 256"),
        ("vocab_size", 2**40, "'vocab_size' must be"),
        ("self_test", [], "'self_test' must be a list of 1"),
        ("self_test", one_test(answer=["x"]), "must hold finite numbers"),
        ("self_test", one_test(input_ids=[4] * 65_537), "at most 65536 ids"),
        ("self_test", one_test(input="\ud800"), "'input' must be a text"),
        ("sha256", {}, "'sha256' must name model.onnx and tokenizer.model"),
    ],
)
def test_a_wrong_value_is_named(
    bundle: Path, edit: Callable, key: str, value: object, message: str
) -> None:
    edit(lambda data: data.update({key: value}))
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(bundle)
    assert "manifest.json" in str(caught.value) and caught.value.exit_code == 8


KEYS = ("version", "family", "runtime", "settings", "workload", "vocab_size", "self_test", "sha256")


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_value_is_named(bundle: Path, edit: Callable, key: str) -> None:
    edit(lambda data: data.pop(key))
    with pytest.raises(ManifestError, match=f"has no '{key}'"):
        read_manifest(bundle)


@pytest.mark.parametrize(
    "name",
    ["../trained.model", "/etc/passwd", "a/b", "..", ".", "", ".hidden", "a\\b", "a\nb", "x" * 101],
)
def test_a_path_outside_the_folder_is_refused(bundle: Path, edit: Callable, name: str) -> None:
    edit(lambda data: data["sha256"].update({name: "0" * 64}))
    with pytest.raises(ManifestError, match="must name files of this folder"):
        read_manifest(bundle)


@pytest.mark.parametrize("digits", ["0" * 63, "G" * 64, "0" * 64 + "\n", None, 7])
def test_a_wrong_hash_is_refused(bundle: Path, edit: Callable, digits: object) -> None:
    edit(lambda data: data["sha256"].update({"README.md": digits}))
    with pytest.raises(ManifestError, match=r"'sha256' of README\.md must be 64 hex digits"):
        read_manifest(bundle)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'"' + b"x" * 2**20 + b'"',
        b"1" * 10_000,
        b"NaN",
        b"null",
        b'{"version": 1, "version": 2}',
    ],
    ids=["empty", "cut", "not UTF-8", "deep", "large", "long number", "NaN", "null", "twice"],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ManifestError, match=r"manifest\.json"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.model", "README.md"])
@pytest.mark.parametrize("damage", ["changed", "missing", "link", "folder"])
def test_a_wrong_file_is_named(bundle: Path, name: str, damage: str) -> None:
    path = bundle / name
    content = path.read_bytes()
    path.unlink()
    if damage == "changed":
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    elif damage == "link":
        (bundle.parent / "elsewhere").write_bytes(content)
        path.symlink_to(bundle.parent / "elsewhere")
    elif damage == "folder":
        path.mkdir()
    with pytest.raises(FileMismatchError, match=name):
        check_files(bundle, read_manifest(bundle))


@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "device"])
def test_a_manifest_that_is_no_file_is_not_read(
    tmp_path: Path, fp32_bundle: Path, kind: str
) -> None:
    path = tmp_path / "manifest.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(fp32_bundle / "manifest.json" if kind == "link" else "/dev/zero")
    with pytest.raises(ManifestError, match="is not a regular file"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(("name", "limit"), [("model.onnx", 2048), ("tokenizer.model", 64)])
def test_a_huge_file_is_refused_unread(bundle: Path, name: str, limit: int) -> None:
    manifest = read_manifest(bundle)
    with (bundle / name).open("r+b") as file:
        file.truncate(limit * 2**20 + 1)  # takes no room on the disk
    with pytest.raises(FileMismatchError, match=f"{name} .* at most {limit} MiB"):
        check_files(bundle, manifest)


@pytest.mark.parametrize("item", ["[]", '{"":[]}', "[[[[[[[[[[]]]]]]]]]]"])
def test_a_large_manifest_takes_bounded_memory(tmp_path: Path, item: str) -> None:
    count = (2**20 - 2) // (len(item) + 1)
    (tmp_path / "manifest.json").write_text("[" + ",".join([item] * count) + "]")
    tracemalloc.start()
    with pytest.raises(ManifestError):
        read_manifest(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 2**20


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
        ("bos_id", 64, "'bos_id' must be a whole number from 0 to 63"),
        ("eos_id", 0, "must differ"),
        ("max_source_len", 1, "'input_ids' must be a list of at most 1 ids"),
        ("max_decode_steps", 1, "'answer' must be a list of at most 1 ids"),
    ],
)
def test_a_wrong_setting_of_a_translation_is_named(
    bundle: Path, edit: Callable, key: str, value: object, message: str
) -> None:
    edit(lambda data: data["settings"].update({key: value}))
    with pytest.raises(ManifestError, match=message) as caught:
        Translator(bundle)
    assert "manifest.json" in str(caught.value) and caught.value.exit_code == 8


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
        ("labels", ["bad", "bad", "good"], "'labels' must differ, and each be text of one line"),
        ("labels", ["bad", "fa\nir", "good"], "'labels' must differ, and each be text of one line"),
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
