"""Answers to many inputs, a part at a time, so that progress can be told in between."""

import os
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..family import BundleModel, ScoredExamples
from ..run_folder.context import Progress

if TYPE_CHECKING:
    from ..export.bundle import BundleOpener
    from ..export.parity import PredictsIds

PART = 128
"""Inputs of a part: a few seconds for a large network that searches with a beam on a CPU."""

Inputs = list[list[int]]
T = TypeVar("T", bound=Sized)


def in_parts(
    answers: Callable[[list[T]], Sequence[Any]], told: Callable[[int, int], None]
) -> Callable[[Sequence[T]], list[Any]]:
    """Answer parts of inputs of like length, longest first."""

    def answer(inputs: Sequence[T]) -> list[Any]:
        order = sorted(range(len(inputs)), key=lambda i: -len(inputs[i]))
        found: list[Any] = [None] * len(inputs)
        for start in range(0, len(order), PART):
            if start:
                told(start, len(order))
            rows = order[start : start + PART]
            for i, output in zip(rows, answers([inputs[i] for i in rows]), strict=True):
                found[i] = output
        return found

    return answer


def scored_in_parts(examples: ScoredExamples, told: Callable[[int, int], None]) -> ScoredExamples:
    """The same examples, with progress while a network answers them."""

    def predict(subnet: Any, inputs: Inputs) -> Sequence[Any]:
        return in_parts(partial(examples.predict, subnet), told)(inputs)

    return replace(examples, predict=predict)


@dataclass(frozen=True)
class _ModelInParts:
    model: BundleModel
    progress: Progress

    @property
    def tokenizer(self) -> Any:
        return self.model.tokenizer

    def predict_ids(self, inputs: Inputs, /) -> Sequence[Any]:
        told = partial(self.progress.update, "answer with the bundle")
        return in_parts(self.model.predict_ids, told)(inputs)


def opened_in_parts(open_bundle: Callable[..., BundleModel], progress: Progress) -> "BundleOpener":
    """What opens a bundle on all cores here, whose model tells how far it is."""

    def open_told(folder: Path) -> "PredictsIds":
        return _ModelInParts(open_bundle(folder, num_cores()), progress)

    return open_told


def num_cores() -> int:
    """Processors that this process may run on or, where the system does not tell (macOS), all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
