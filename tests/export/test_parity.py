"""Made-up models that answer backwards, and which examples a bundle answers again."""

import dataclasses
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from encoder_bundles import export_encoder

from mosdeploy.config.sections import ExportConfig
from mosdeploy.errors import ExportError
from mosdeploy.export import bundle
from mosdeploy.export.parity import (
    NUM_SELF_TESTS,
    ParityExamples,
    Shortcut,
    check_parity,
    choose_self_tests,
)
from mosdeploy.records import ParityReport, SelfTest
from mosdeploy.runtime.manifest import MAX_MANIFEST_BYTES, MAX_TEXT_LENGTH, read_manifest
from mosdeploy.runtime.self_test import NO_SCALE, Scale

LIMITS = ExportConfig(max_score_drop=0.5)
INPUT_IDS = [[4 + (7 * i + k) % 8 for k in range(1 + i % 5)] for i in range(40)]


def reverse(inputs: list[list[int]]) -> list[list[int]]:
    return [ids[::-1] for ids in inputs]


class Model:
    """Reverses, but for the examples of the given places."""

    def __init__(self, *wrong: int) -> None:
        self.wrong = wrong

    def predict_ids(self, inputs: list[list[int]]) -> list[list[int]]:
        answers = reverse(inputs)
        return [[9] if i in self.wrong else ids for i, ids in enumerate(answers)]


def examples(score=lambda texts: 100.0) -> ParityExamples:
    return ParityExamples(
        inputs=[f"text {i}" for i in range(40)],
        input_ids=[tuple(ids) for ids in INPUT_IDS],
        reference=reverse,
        decode=str,
        score=score,
        metric="BLEU",
    )


def test_the_same_answers_are_reported() -> None:
    report = check_parity(Model(), examples(), limits=LIMITS, precision="fp32")
    assert report == ParityReport(
        metric="BLEU", num_examples=40, identical=40, torch_score=100.0, bundle_score=100.0
    )


def test_both_are_scored_as_text_in_order() -> None:
    seen: list[list[str]] = []

    def score(texts: list[str]) -> float:
        seen.append(texts)
        return float(len(seen))

    report = check_parity(Model(0), examples(score), limits=LIMITS, precision="int8")
    assert seen[0] == [str(ids) for ids in reverse(INPUT_IDS)]
    assert seen[1] == ["[9]", *seen[0][1:]]
    assert (report.torch_score, report.bundle_score, report.identical) == (1.0, 2.0, 39)


class Numbers:
    """Answers everything alike."""

    tokenizer = None

    def __init__(self, *numbers: float) -> None:
        self.numbers = list(numbers)

    def predict_ids(self, inputs: list[list[int]]) -> list[list[float]]:
        return [self.numbers] * len(inputs)


def wanting(*numbers: float, score=lambda texts: 100.0) -> ParityExamples:
    return dataclasses.replace(examples(score), reference=Numbers(*numbers).predict_ids)


@pytest.mark.parametrize(
    ("found", "wanted", "spread", "passes"),
    [
        (0.50005, 0.5, 1.0, True),
        (0.5005, 0.5, 1.0, False),
        # fp32 has seven digits
        (1000.0005, 1000.0, 1.0, True),
        (1000.02, 1000.0, 1.0, False),
        # near zero, the center of labels that differ by ten thousand
        (0.01, 0.0, 10_000.0, True),
        (0.01, 0.0, 1.0, False),
    ],
)
def test_scores_in_fp32_differ_by_a_tenth_of_a_thousandth_of_their_spread(
    found: float, wanted: float, spread: float, passes: bool
) -> None:
    check = wanting(wanted)
    run = partial(check_parity, Numbers(found), check, LIMITS, "fp32", scale=Scale(0.0, spread))
    if passes:
        assert run().identical == 40
        return
    with pytest.raises(ExportError, match="40 of 40"):
        run()


def test_fp32_must_be_equal() -> None:
    with pytest.raises(ExportError, match=r"2 of 40 .* first is 'text 3', from number 1 on \[9\]"):
        check_parity(Model(3, 8), examples(), limits=LIMITS, precision="fp32")


@pytest.mark.parametrize(
    ("drop", "passes"), [(0.5, True), (0.505, False), (0.51, False), (-3.0, True)]
)
def test_int8_may_lose_so_much_of_the_score(drop: float, passes: bool) -> None:
    scores = iter([30.0, 30.0 - drop])
    check = examples(lambda texts: next(scores))
    if passes:
        report = check_parity(Model(1), check, limits=LIMITS, precision="int8")
        assert report.torch_score == 30.0 and report.identical == 39
    else:
        with pytest.raises(ExportError, match=r"costs 0\.5[01] BLEU .*, at most 0\.5 is"):
            check_parity(Model(1), check, limits=LIMITS, precision="int8")


@pytest.mark.parametrize("torch_score", [0.0, 1.0])  # a score, which its worst answers may have too
@pytest.mark.parametrize(
    ("scale", "found", "passes"),
    [
        (NO_SCALE, [0.9, 2.1], True),
        (NO_SCALE, [2.0, 1.0], False),
        # beside answers of a thousand both would pass; beside their spread they do not
        (Scale(1000.0, 2.0, 1.0), [1000.3, 1000.1], True),
        (Scale(1000.0, 2.0, 1.0), [1003.0, 1003.0], False),
    ],
)
def test_scores_are_like_torchs_where_the_metric_tells_nothing(
    scale: Scale, found: list[float], passes: bool, torch_score: float
) -> None:
    wanted = [1.0, 2.0] if scale is NO_SCALE else [1000.0, 1000.5]
    check = wanting(*wanted, score=lambda texts: torch_score)
    run = partial(check_parity, Numbers(*found), check, LIMITS, "int8", scale=scale)
    if passes:
        assert run().identical == 0
        return
    with pytest.raises(ExportError, match=r"int8 answers agree to 0\.\d\d with torch's on 40"):
        run()


@pytest.mark.parametrize("torch_score", [0.0, 0.5])
def test_token_ids_are_like_torchs_where_the_metric_cannot_fall_enough(torch_score: float) -> None:
    """BLEU of sentences under four words is 0, that of little training may be what may be lost."""
    check = examples(lambda texts: 0.1 if texts[1] == "[9]" else torch_score)
    damaged = partial(check_parity, Model(*range(40)), check, precision="int8")
    message = rf"agree to 0\.19 .* 0\.8 is needed where torch has {torch_score}0 BLEU and 0\.5"
    with pytest.raises(ExportError, match=message):
        damaged(limits=LIMITS)
    sound = check_parity(Model(3, 8), check, limits=LIMITS, precision="int8")
    assert sound.identical == 38
    # whoever says that all may be lost is believed
    assert damaged(limits=ExportConfig(max_score_drop=100.0)).identical == 1


@pytest.mark.parametrize(("exact", "is_refused"), [(60.0, False), (60.5, False), (60.75, True)])
def test_a_shortcut_may_cost_so_much(exact: float, is_refused: bool) -> None:
    """The exact answers are forwards; with the shortcut, torch and the model answer backwards."""
    scores = {str(INPUT_IDS[1]): exact, str(INPUT_IDS[1][::-1]): 60.0}
    shortcut = Shortcut("a short way", exact=list, max_drop=0.5, advice="take the long way")
    shorter = dataclasses.replace(examples(lambda texts: scores[texts[1]]), shortcut=shortcut)
    if is_refused:
        with pytest.raises(ExportError, match=r"a short way costs 0\.75 BLEU.*take the long way"):
            check_parity(Model(), shorter, limits=LIMITS, precision="fp32")
        return
    report = check_parity(Model(), shorter, limits=LIMITS, precision="fp32")
    assert (report.exact_score, report.torch_score) == (exact, 60.0)


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
