"""Does a bundle, on this machine, answer what it answered where it was made?

fp32: every id must be the same. Other precisions: kernels of other processors round differently,
and one id that turns over changes what follows; so the answers must be alike, by `difflib`'s ratio
over the ids of all examples together, to at least `MIN_AGREEMENT`. A wrong kernel, tokenizer or
file falls far below that.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .translation import Translator

MIN_AGREEMENT = 0.8


@dataclass(frozen=True)
class SelfTestResult:
    """`agreement`: 1 when all ids are the same; `failures`: what went wrong, in words."""

    passed: bool
    agreement: float
    failures: tuple[str, ...]


def run_self_test(model: Translator) -> SelfTestResult:
    """Answer the examples of the manifest, one by one, and compare; in fp32 then together, padded.

    Raises
    ------
    ModelError
        If the bundle's runtime fails.
    """
    failures: list[str] = []
    tests = model.manifest.self_tests
    sources = [test.source_ids for test in tests]
    answers = [model.predict_ids([ids])[0] for ids in sources]
    exact = model.manifest.precision == "fp32"
    for number, (test, found) in enumerate(zip(tests, answers), start=1):  # noqa: B905 (Python 3.9)
        if tuple(model.tokenizer.encode(test.source)) != test.source_ids:
            failures.append(f"example {number}: the tokenizer splits it differently")
        if model.tokenizer.decode(list(test.output_ids)) != test.output:
            failures.append(f"example {number}: the tokenizer spells the answer differently")
        if exact and tuple(found) != test.output_ids:
            failures.append(f"example {number}: answered {found}, expected {list(test.output_ids)}")
    if exact and model.predict_ids(sources) != answers:
        failures.append("the examples answered together, padded, are not answered as each alone")
    agreement = _agreement(answers, [list(test.output_ids) for test in tests])
    if not exact and agreement < MIN_AGREEMENT:
        failures.append(
            f"the answers agree to {agreement:.2f} with those expected; {MIN_AGREEMENT} is needed"
        )
    return SelfTestResult(not failures, round(agreement, 4), tuple(failures))


def _agreement(found: Sequence[list[int]], expected: Sequence[list[int]]) -> float:
    """Mean likeness of the answers, each weighted by its length."""
    weights = [max(1, len(ids)) for ids in expected]
    pairs = zip(found, expected)  # noqa: B905 (Python 3.9)
    ratios = [difflib.SequenceMatcher(None, a, b, autojunk=False).ratio() for a, b in pairs]
    return float(np.average(ratios, weights=weights))
