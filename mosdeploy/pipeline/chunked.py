"""Answer many inputs a chunk at a time, with progress in between."""

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..family import BundleModel, ScoredExamples, num_cores
from ..run_folder.context import Progress

if TYPE_CHECKING:
    from ..export.bundle import BundleOpener
    from ..export.parity import PredictsIds

CHUNK = 128
"""Inputs of a chunk: a few seconds for a large network that searches with a beam on a CPU."""

Inputs = list[list[int]]
T = TypeVar("T", bound=Sized)


def in_chunks(
    answers: Callable[[list[T]], Sequence[Any]], told: Callable[[int, int], None]
) -> Callable[[Sequence[T]], list[Any]]:
    """Answer chunks of inputs of like length, longest first."""

    def answer(inputs: Sequence[T]) -> list[Any]:
        order = sorted(range(len(inputs)), key=lambda i: -len(inputs[i]))
        found: list[Any] = [None] * len(inputs)
        for start in range(0, len(order), CHUNK):
            if start:
                told(start, len(order))
            rows = order[start : start + CHUNK]
            for i, output in zip(rows, answers([inputs[i] for i in rows]), strict=True):
                found[i] = output
        return found

    return answer


def scored_in_chunks(examples: ScoredExamples, told: Callable[[int, int], None]) -> ScoredExamples:
    """The same examples, with progress while a network answers them."""

    def predict(subnet: Any, inputs: Inputs) -> Sequence[Any]:
        return in_chunks(partial(examples.predict, subnet), told)(inputs)

    return replace(examples, predict=predict)


@dataclass(frozen=True)
class _ModelInChunks:
    model: BundleModel
    progress: Progress

    @property
    def tokenizer(self) -> Any:
        return self.model.tokenizer

    def predict_ids(self, inputs: Inputs, /) -> Sequence[Any]:
        told = partial(self.progress.update, "answer with the bundle")
        return in_chunks(self.model.predict_ids, told)(inputs)


def opened_in_chunks(open_bundle: Callable[..., BundleModel], progress: Progress) -> "BundleOpener":
    """Return an opener of bundles whose models run on all cores here and show progress."""

    def open_told(folder: Path) -> "PredictsIds":
        return _ModelInChunks(open_bundle(folder, num_cores()), progress)

    return open_told
