"""Which examples a bundle answers again, within what the runtime reads of a manifest."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import encoder_bundles
import pytest
from encoder_bundles import TEXTS, export_encoder

from mosdeploy.errors import ExportError
from mosdeploy.export import bundle
from mosdeploy.export.parity import NUM_SELF_TESTS, ParityExamples, choose_self_tests
from mosdeploy.records import SelfTest
from mosdeploy.runtime import Encoder
from mosdeploy.runtime.manifest import MAX_MANIFEST_BYTES, MAX_TEXT_LENGTH, read_manifest
from mosdeploy.runtime.self_test import run_self_test


class Echo:
    """Answers a row of ids, one a character, with so many numbers for each."""

    tokenizer = SimpleNamespace(encode=lambda text: [ord(x) for x in text[:20]])

    def __init__(self, numbers_per_id: int) -> None:
        self.numbers_per_id = numbers_per_id

    def predict_ids(self, inputs: list[list[int]]) -> list[list[float]]:
        return [[i + 0.5 for i in ids for _ in range(self.numbers_per_id)] for ids in inputs]


def examples_of(texts: list[str]) -> ParityExamples:
    return ParityExamples(
        inputs=texts,
        input_ids=[Echo.tokenizer.encode(text) for text in texts],
        reference=lambda inputs: [],
        decode=lambda answer: f"{len(answer)} numbers",
        score=lambda outputs: 0.0,
        metric="accuracy",
    )


def lengths_of(texts: list[str], max_bytes: int) -> list[int]:
    tests = choose_self_tests(Echo(10), examples_of(texts), max_bytes)
    written = json.dumps([test.model_dump() for test in tests], indent=2)
    assert len(written.replace("\n", "\n  ")) <= max_bytes
    return [len(test.input_ids) for test in tests]


def test_they_are_as_large_as_there_is_room() -> None:
    texts = ["ab" * (1 + i % 10) for i in range(40)]
    assert lengths_of(texts, 2**20) == [12, 18, 4]
    # the long one is left out for a short one, then the middle one, then all but one
    assert lengths_of(texts, 4_000) == [2, 12, 4]
    assert lengths_of(texts, 2_000) == [2, 2, 4]
    assert lengths_of(texts, 800) == [4]
    with pytest.raises(ExportError, match=r"no validation example is small enough .* 400 bytes"):
        lengths_of(texts, 400)


def test_a_text_is_as_long_as_the_runtime_reads() -> None:
    (test,) = choose_self_tests(Echo(1), examples_of(["x" * (MAX_TEXT_LENGTH + 1)]), 2**20)
    assert test.input == "x" * MAX_TEXT_LENGTH
    assert len(test.input_ids) == 20
    pair = dataclasses.replace(examples_of(["x" * 20_000 + "\ty"]), input_ids=[[120, 9, 121]])
    with pytest.raises(ExportError, match="of at most 16384 characters"):
        choose_self_tests(Echo(1), pair, 2**20)


def test_a_bundle_of_long_texts_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join([text] * 2_000) for text in TEXTS]
    assert min(map(len, texts)) > 15_000 and max(map(len, texts)) > 3 * MAX_TEXT_LENGTH
    monkeypatch.setattr(encoder_bundles, "TEXTS", texts)
    encoder = Encoder(export_encoder(tmp_path, "classification"))
    assert len(encoder.manifest.self_tests) == 3
    assert run_self_test(encoder).passed


def test_what_no_runtime_would_open_takes_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = export_encoder(tmp_path, "tagging")
    before = (folder / "manifest.json").read_bytes()

    def too_large(*_: object) -> tuple[SelfTest, ...]:
        return (SelfTest(input="a" * MAX_MANIFEST_BYTES, input_ids=(), answer=(), output=""),)

    monkeypatch.setattr(bundle, "choose_self_tests", too_large)
    with pytest.raises(ExportError, match="no runtime would open this bundle"):
        export_encoder(tmp_path, "tagging", "int8")
    assert (folder / "manifest.json").read_bytes() == before
    assert read_manifest(folder).precision == "fp32"
    assert len(read_manifest(folder).self_tests) == NUM_SELF_TESTS
