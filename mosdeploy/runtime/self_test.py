"""Does a bundle, on this machine, answer what it answered where it was made?

fp32: every id must be the same. Other precisions: kernels of other processors round differently, and one id that turns
over changes what follows; so the answers must be alike, by `difflib`'s ratio over the ids of all sentences together, to
at least `MIN_AGREEMENT`. A wrong kernel, tokenizer or file falls far below that.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from .translator import Translator

MIN_AGREEMENT = 0.8


@dataclass(frozen=True)
class SelfTestResult:
    """`agreement`: 1 when all ids are the same; `failures`: what went wrong, in words."""

    passed: bool
    agreement: float
    failures: tuple[str, ...]


def run_self_test(translator: Translator) -> SelfTestResult:
    """Translate the sentences of the manifest, one by one, and compare.

    Raises
    ------
    ModelError
        If ONNX Runtime fails.
    """
    failures, weighted, total = [], 0.0, 0
    exact = translator.manifest.precision == "fp32"
    for number, test in enumerate(translator.manifest.self_tests, start=1):
        if tuple(translator.pieces.encode(test.source)) != test.source_ids:
            failures.append(f"sentence {number}: the tokenizer splits it differently")
        found = translator.translate_ids([test.source_ids])[0]
        ratio = difflib.SequenceMatcher(None, found, list(test.output_ids), autojunk=False).ratio()
        weighted, total = weighted + ratio * max(1, len(test.output_ids)), total + max(1, len(test.output_ids))
        if exact and tuple(found) != test.output_ids:
            failures.append(f"sentence {number}: answered {found}, expected {list(test.output_ids)}")
        elif translator.pieces.decode(list(test.output_ids)) != test.output:
            failures.append(f"sentence {number}: the tokenizer spells the answer differently")
    agreement = weighted / total
    if not exact and agreement < MIN_AGREEMENT:
        failures.append(
            f"the answers agree to {agreement:.2f} with the expected ones, at least {MIN_AGREEMENT} is needed"
        )
    return SelfTestResult(not failures, round(agreement, 4), tuple(failures))
