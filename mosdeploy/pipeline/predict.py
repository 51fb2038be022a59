"""The verb `predict`: run a bundle on this machine."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BundleError, ConfigError
from ..families import load_family
from ..run_folder.bundles import require_bundle
from ..run_folder.context import SILENT, Progress
from ..run_folder.options import PredictOptions
from ..run_folder.summaries import Predictions, VectorFile
from ..storage import atomic_write
from ..workspace import Workspace
from .chunked import in_chunks

if TYPE_CHECKING:
    from ..family import BundleModel
    from ..runtime.execution import Timing
    from ..runtime.texts import LineNotes


@dataclass(frozen=True)
class PredictResult:
    """Answers to lines."""

    bundle: Path
    lines: Sequence[str]
    answers: Sequence[Mapping[str, Any]]
    outputs: Sequence[str]
    timing: "Timing"

    @property
    def notes(self) -> "LineNotes":
        """How many lines were longer than the bundle takes, or hold one text of two."""
        from ..runtime.texts import LineNotes

        return LineNotes(self.answers)

    @property
    def record(self) -> Predictions:
        """The answers as a record."""
        pairs = zip(self.lines, self.answers, strict=True)
        return Predictions(
            bundle=str(self.bundle),
            predictions=tuple({"input": line, **answer} for line, answer in pairs),
        )

    def write_vectors(self, path: Path) -> VectorFile:
        """Write the vectors as a numpy array, float32 (lines, width), whole or not at all."""
        # without lines, those of any text say how wide the array is
        answers = self.answers or predict(self.bundle, ["a"], PredictOptions(self.bundle)).answers
        for number, answer in enumerate(answers, 1):
            if "vector" not in answer:
                raise ConfigError(f"line {number} has no vector")
        vectors = np.array([answer["vector"] for answer in answers], np.float32)
        vectors = vectors[: len(self.answers)]
        buffer = io.BytesIO()
        np.save(buffer, vectors)
        atomic_write(path, buffer.getvalue())
        return VectorFile(bundle=str(self.bundle), path=str(path), shape=vectors.shape)


def check_vectors(root: Path, bundle: str | Path | None, lines: Sequence[str], path: Path) -> None:
    """Make sure, before lines are answered, that each will have a vector for a file."""
    from ..export.bundle import read_manifest

    if path.suffix != ".npy":
        raise ConfigError(f"--output {path}: vectors are written to a file that ends in .npy")
    folder = require_bundle(Workspace(root), bundle)
    if read_manifest(folder).settings.get("kind") != "embedding":
        raise ConfigError(f"{folder} gives no vectors; --output is for the bundles of embeddings")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise ConfigError(f"line {number} is empty, and has no vector; leave it out")


def predict(
    root: Path,
    lines: Sequence[str],
    options: PredictOptions | None = None,
    progress: Progress = SILENT,
) -> PredictResult:
    """Answer lines of text with a bundle."""
    from ..runtime import BundleError as RuntimeBundleError
    from ..runtime.errors import InputError, LineError
    from ..runtime.manifest import read_manifest

    options = options or PredictOptions()
    folder = require_bundle(Workspace(root), options.bundle)
    try:
        family = load_family(read_manifest(folder).family)
        model: BundleModel = family.open_bundle(folder, options.threads, options.long)
        answers = in_chunks(model.answer, partial(progress.update, "predict"))(lines)
    except RuntimeBundleError as error:
        raise BundleError(str(error)) from error
    except LineError as error:
        raise ConfigError(f"line {list(lines).index(error.line) + 1}: {error}") from error
    except InputError as error:
        raise ConfigError(str(error)) from error
    outputs = [model.line_of(answer) for answer in answers]
    return PredictResult(folder, lines, answers, outputs, model.timing)
