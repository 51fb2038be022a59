"""What a family exports, and what is opened again."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ..runtime.timing import Timing
    from ..spaces.genes import ArchConfig
    from ..spaces.spec import ModelSpec


class SmallerVocabulary(Protocol):
    """Part of a vocabulary."""

    @property
    def tokenizer(self) -> str:
        """Content of the tokenizer's file that knows this part alone."""

    @property
    def ids(self) -> Sequence[int]:
        """The old id of each new one."""

    def __len__(self) -> int:
        """How many ids are left."""

    def weights(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """A subnet's weights, of its tables the rows that are left."""

    def new_ids(self, ids: Sequence[int]) -> list[int]:
        """Old ids, all of which are left, under their new numbers."""


@dataclass(frozen=True)
class FormatJob:
    """A subnet to write in a format of other libraries.

    Attributes
    ----------
    spec, arch, weights
        As `build_graph` takes them; the precision is that of the workload.
    config
        The run file.
    tokenizer_path
        The file that turns text into ids.
    tokenizer_sha256
        As in a `BundleJob`.
    """

    spec: "ModelSpec"
    arch: "ArchConfig"
    weights: Mapping[str, Any]
    config: Any
    tokenizer_path: Path
    tokenizer_sha256: str | None = None


class BundleModel(Protocol):
    """A bundle, opened with the runtime that devices have; `timing` tells where time goes."""

    timing: "Timing"

    @property
    def tokenizer(self) -> Any:
        """Its `encode` gives the ids of a text."""

    def predict_ids(self, inputs: Sequence[Sequence[int]]) -> Sequence[Any]:
        """Input ids to answers: token ids, or scores."""

    def answer(self, lines: Sequence[str]) -> list[dict[str, Any]]:
        """Lines of text to all that is known of each, as objects for JSON: with `is_cut` or
        `num_windows` where a line was too long, `is_single` where it holds one text of two,
        `is_joined` where it holds two that were read as one.
        """

    def line_of(self, answer: Mapping[str, Any]) -> str:
        """One of these as a line of text."""


def num_cores() -> int:
    """Processors that this process may run on or, where the system does not tell (macOS), all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
