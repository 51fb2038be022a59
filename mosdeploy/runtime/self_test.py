"""Does a bundle, on this machine, answer what it answered where it was made?"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

Answer = Union[Sequence[int], Sequence[float]]  # noqa: UP007 (Python 3.9)
"""Token ids, or scores."""

MIN_AGREEMENT = 0.8
SCORE_TOLERANCE = 1e-3
"""Between scores in fp32: those of another processor add up in another order."""
RELATIVE_TOLERANCE = 1e-5
"""Part of a score that is allowed besides: fp32 holds seven digits, and the answers of a regression
may be in the thousands.
"""


@dataclass(frozen=True)
class SelfTestResult:
    """`agreement`: 1 when all answers are the same; `failures`: what went wrong, in words."""

    passed: bool
    agreement: float
    failures: tuple[str, ...]


def run_self_test(model: Any) -> SelfTestResult:
    """Let an Encoder or a Translator answer the examples of its manifest, one by one and then
    together, padded, and compare.
    """
    failures: list[str] = []
    tests = model.manifest.self_tests
    inputs = [test.input_ids for test in tests]
    answers = [model.predict_ids([ids])[0] for ids in inputs]
    scale = scale_of(model.manifest.settings)
    tolerance = SCORE_TOLERANCE * scale.spread
    exact = model.manifest.precision == "fp32"
    for number, (test, found) in enumerate(zip(tests, answers), start=1):  # noqa: B905 (Python 3.9)
        if tuple(model.tokenizer.encode(test.input)) != test.input_ids:
            failures.append(f"example {number}: the tokenizer splits it differently")
        if model.decode(list(test.answer)) != test.output:
            failures.append(f"example {number}: the answer is spelt differently")
        if exact and not is_same(found, test.answer, tolerance):
            failures.append(f"example {number}: answered {found}, expected {list(test.answer)}")
    if not _same_together(model, inputs, answers, scale):
        failures.append("the examples answered together, padded, are not answered as each alone")
    agreement = mean_likeness(answers, [test.answer for test in tests], scale)
    if not exact and agreement < MIN_AGREEMENT:
        failures.append(
            f"the answers agree to {agreement:.2f} with those expected; {MIN_AGREEMENT} is needed"
        )
    return SelfTestResult(not failures, round(agreement, 4), tuple(failures))


def _same_together(
    model: Any, inputs: Sequence[Sequence[int]], alone: Sequence[Answer], scale: Scale
) -> bool:
    """Whether examples are answered together as each alone."""
    exact = model.manifest.precision == "fp32"
    if not exact and all(map(_are_ids, alone)):
        return True  # a quantised translation may differ with the sentences beside it
    together = model.predict_ids(inputs)
    if not exact:
        return mean_likeness(together, alone, scale) >= MIN_AGREEMENT
    tolerance = SCORE_TOLERANCE * scale.spread
    return all(is_same(a, b, tolerance) for a, b in zip(together, alone))  # noqa: B905 (Python 3.9)


@dataclass(frozen=True)
class Scale:
    """Center and spread of the labels of a regression: answers that are all near 2,000 are alike
    without these, whatever a model answers. `least`: what each answer counts for at least, in
    spreads.
    """

    center: float = 0.0
    spread: float = 1.0
    least: float = 0.0


NO_SCALE = Scale()


def scale_of(settings: Mapping[str, object]) -> Scale:
    """The scale of a bundle's answers, from the settings in its manifest."""
    if settings.get("kind") != "regression":
        return NO_SCALE  # of others the two are not checked, and mean nothing
    center = settings.get("center")
    spread = settings.get("spread")
    if isinstance(center, (int, float)) and isinstance(spread, (int, float)):
        return Scale(center, spread, 1.0)
    return NO_SCALE


def is_same(found: Answer, expected: Answer, tolerance: float = SCORE_TOLERANCE) -> bool:
    """Whether two answers are the same, up to the rounding of scores."""
    if _are_ids(found) and _are_ids(expected):
        return list(found) == list(expected)
    return len(found) == len(expected) and np.allclose(
        # a manifest may write scores as whole numbers of any length
        np.asarray(found, np.float64),
        np.asarray(expected, np.float64),
        RELATIVE_TOLERANCE,
        tolerance,
    )


def mean_likeness(found: Sequence[Answer], expected: Sequence[Answer], scale: Scale) -> float:
    """Mean likeness of token ids, each answer weighted by its length; of scores, that of all
    together: one of them may be near 0, where it is not like any other.
    """
    if not all(map(_are_ids, [*found, *expected])):
        if [len(answer) for answer in found] != [len(answer) for answer in expected]:
            return 0.0
        return _likeness_of_scores(np.concatenate(found), np.concatenate(expected), scale)
    weights = [max(1, len(answer)) for answer in expected]
    likenesses = [
        difflib.SequenceMatcher(None, a, b, autojunk=False).ratio()
        for a, b in zip(found, expected)  # noqa: B905 (Python 3.9)
    ]
    return float(np.average(likenesses, weights=weights))


def _likeness_of_scores(found: Any, expected: Any, scale: Scale) -> float:
    """From 0, nothing in common, to 1, the same."""
    a = (np.asarray(found, np.float64) - scale.center) / scale.spread
    b = (np.asarray(expected, np.float64) - scale.center) / scale.spread
    least = scale.least * len(b) ** 0.5
    # of all zeros, nothing but zeros is like
    size: float = max(float(np.linalg.norm(b)), least, 1e-9)
    distance = float(np.linalg.norm(a - b))
    return max(0.0, 1.0 - distance / size)


def _are_ids(answer: Answer) -> bool:
    return all(isinstance(item, int) for item in answer)
