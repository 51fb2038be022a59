"""Made-up models: the answer to a row of ids is that row, backwards."""

import dataclasses
from functools import partial

import pytest

from mosdeploy.config.sections import ExportConfig
from mosdeploy.errors import ExportError
from mosdeploy.export.parity import ParityExamples, Shortcut, check_parity
from mosdeploy.records import ParityReport
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


@pytest.mark.parametrize(("found", "passes"), [(0.50005, True), (0.5005, False)])
def test_scores_in_fp32_differ_by_a_tenth_of_a_thousandth_at_most(
    found: float, passes: bool
) -> None:
    class Number(Model):
        def predict_ids(self, inputs: list[list[int]]) -> list[list[float]]:
            return [[found]] * len(inputs)

    check = dataclasses.replace(examples(), reference=lambda inputs: [[0.5]] * len(inputs))
    if passes:
        assert check_parity(Number(), check, limits=LIMITS, precision="fp32").identical == 40
        return
    with pytest.raises(ExportError, match="40 of 40"):
        check_parity(Number(), check, limits=LIMITS, precision="fp32")


@pytest.mark.parametrize(("found", "passes"), [(1000.0005, True), (1000.02, False)])
def test_large_scores_may_differ_in_their_last_digits(found: float, passes: bool) -> None:
    class Number:
        tokenizer = None

        def predict_ids(self, inputs: list[list[int]]) -> list[list[float]]:
            return [[found]] * len(inputs)

    check = dataclasses.replace(examples(), reference=lambda inputs: [[1000.0]] * len(inputs))
    if passes:
        assert check_parity(Number(), check, limits=LIMITS, precision="fp32").identical == 40
        return
    with pytest.raises(ExportError, match="40 of 40"):
        check_parity(Number(), check, limits=LIMITS, precision="fp32")


@pytest.mark.parametrize(("spread", "passes"), [(10_000.0, True), (1.0, False)])
def test_numbers_may_differ_by_a_part_of_their_spread(spread: float, passes: bool) -> None:
    class Number:
        tokenizer = None

        def predict_ids(self, inputs: list[list[int]]) -> list[list[float]]:
            return [[0.01]] * len(inputs)

    # near zero, the center of labels that differ by ten thousand
    check = dataclasses.replace(examples(), reference=lambda inputs: [[0.0]] * len(inputs))
    run = partial(
        check_parity, Number(), check, limits=LIMITS, precision="fp32", scale=Scale(0.0, spread)
    )
    if passes:
        assert run().identical == 40
        return
    with pytest.raises(ExportError, match="40 of 40"):
        run()


def test_where_scores_differ_by_more_than_their_rounding_is_told() -> None:
    class Numbers(Model):
        def predict_ids(self, inputs: list[list[int]]) -> list[list[float]]:
            return [[0.50001, *range(1, 9)]] * len(inputs)

    scores = [0.5, 1.0, 2.5, *range(3, 9)]
    check = dataclasses.replace(examples(), reference=lambda inputs: [scores] * len(inputs))
    message = r"from number 3 on \[2, 3, 4, 5, 6\], not \[2\.5, 3, 4, 5, 6\]\. No"
    with pytest.raises(ExportError, match=message):
        check_parity(Numbers(), check, limits=LIMITS, precision="fp32")


def test_fp32_must_be_equal() -> None:
    message = (
        r"answers 2 of 40 .* the first is 'text 3', from number 1 on \[9\], not \[4, 11, 10, 9\]"
    )
    with pytest.raises(ExportError, match=message):
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
        with pytest.raises(
            ExportError, match=r"int8 costs 0\.5[01] BLEU on 40 .*, at most 0\.5 is"
        ):
            check_parity(Model(1), check, limits=LIMITS, precision="int8")


@pytest.mark.parametrize(
    ("center", "spread", "found", "passes"),
    [
        (None, 1.0, [0.9, 2.1], True),
        (None, 1.0, [2.0, 1.0], False),
        # beside answers of a thousand both would pass; beside their spread they do not
        (1000.0, 2.0, [1000.3, 1000.1], True),
        (1000.0, 2.0, [1003.0, 1003.0], False),
    ],
)
def test_scores_are_like_torchs_where_the_metric_tells_nothing(
    center: float | None, spread: float, found: list[float], passes: bool
) -> None:
    class Numbers:
        tokenizer = None

        def predict_ids(self, inputs: list[list[int]]) -> list[list[float]]:
            return [found] * len(inputs)

    wanted = [1.0, 2.0] if center is None else [1000.0, 1000.5]
    check = dataclasses.replace(
        examples(lambda texts: 0.0), reference=lambda inputs: [wanted] * len(inputs)
    )
    run = partial(
        check_parity,
        Numbers(),
        limits=LIMITS,
        precision="int8",
        scale=NO_SCALE if center is None else Scale(center, spread, 1.0),
    )
    # torch has a score, which its worst answers may have too
    scored = dataclasses.replace(check, score=lambda texts: 1.0)
    for each in (check, scored):
        if passes:
            assert run(each).identical == 0
        else:
            message = r"int8 answers agree to 0\.\d\d with torch's on 40"
            with pytest.raises(ExportError, match=message):
                run(each)


@pytest.mark.parametrize(("torch_score", "passes"), [(0.5, False), (0.75, True)])
def test_half_of_the_likeness_will_do_where_the_metric_can_fall_enough(
    torch_score: float, passes: bool
) -> None:
    check = examples(lambda texts: torch_score)
    run = partial(check_parity, Model(*range(20)), check, LIMITS, "int8")
    if passes:
        assert run().identical == 20
    else:
        with pytest.raises(ExportError, match=r"agree to 0\.\d\d .* 0\.8 is needed"):
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
