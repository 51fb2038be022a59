"""A bundle, opened and ready to translate.

In: lines of text. Out: lines of text. Lines of similar length share one call of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ModelError
from .manifest import TOKENIZER_NAME, Manifest, check_files, read_manifest
from .tokenizer import Pieces

if TYPE_CHECKING:
    from .session import OnnxEngine
    from .tvm_engine import TvmEngine

MAX_BATCH_ROWS = 32
MAX_BATCH_POSITIONS = 2048  # padded source positions in one call

TVM_REQUIREMENTS = "'apache-tvm>=0.27,<0.28' 'apache-tvm-ffi<0.1.15'"


class Translator:
    """Translates with a bundle.

    In fp32 the answer for a line does not depend on the lines beside it. In int8 it may, in rare
    words: activations are quantised on the fly with one scale for all that is computed together.

    Parameters
    ----------
    bundle_dir
        Folder of the bundle. Its files are checked against the hashes in its manifest.
    threads
        Threads that the bundle's runtime may use; None leaves it to the runtime (one a physical
        core).
    providers
        ONNX Runtime execution providers, best first; None is the CPU. A TVM bundle knows none.

    Raises
    ------
    BundleError
        If the bundle is not whole, is not what its manifest says, or cannot be loaded.
    """

    def __init__(
        self,
        bundle_dir: str | Path,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
    ) -> None:
        folder = Path(bundle_dir)
        self.manifest = read_manifest(folder)
        check_files(folder, self.manifest)
        self.pieces = Pieces(folder / TOKENIZER_NAME, self.manifest.vocab_size)
        self._engine = _open(folder, self.manifest, threads, providers)

    def translate(self, lines: Sequence[str]) -> list[str]:
        """Translate lines, in the order given.

        An empty line is answered by an empty line. A line of more than `manifest.max_source_len`
        pieces is translated in parts (see `pieces`). Characters that the tokenizer does not know
        are read as unknown.

        Raises
        ------
        ModelError
            If the bundle's runtime fails.
        """
        parts = [self.pieces.encode_parts(line, self.manifest.max_source_len) for line in lines]
        answers = iter(self.translate_ids([ids for line_parts in parts for ids in line_parts]))
        texts = [[self.pieces.decode(next(answers)) for _ in line_parts] for line_parts in parts]
        return [" ".join(text for text in line_texts if text) for line_texts in texts]

    def translate_ids(
        self, sources: Sequence[Sequence[int]], num_steps: int | None = None
    ) -> list[list[int]]:
        """Translate piece ids, without begin and end, into piece ids; no source may be longer than
        the limit.

        Parameters
        ----------
        num_steps
            Make exactly so many decode steps, wherever a sentence ends: for measuring.

        Raises
        ------
        ModelError
            If the bundle's runtime fails.
        """
        answers: list[list[int]] = [[] for _ in sources]
        for group in _by_length(sources):
            translated = self._engine.translate(
                [sources[i] for i in group], num_steps, num_steps or 0
            )
            for index, ids in zip(group, translated):  # noqa: B905 (Python 3.9)
                answers[index] = ids
        return answers


def _open(
    folder: Path, manifest: Manifest, threads: int | None, providers: Sequence[str] | None
) -> OnnxEngine | TvmEngine:
    """Open the model with the runtime that it was exported for; the other is not imported."""
    if manifest.runtime == "onnxruntime":
        try:
            from .session import OnnxEngine
        except ImportError as error:
            raise ModelError(
                f"onnxruntime cannot be imported ({error}); run: pip install onnxruntime"
            ) from error
        return OnnxEngine(folder, manifest, threads, providers)
    if providers is not None:
        raise ModelError(f"'{manifest.name}' is a TVM bundle and knows no ONNX Runtime providers")
    try:
        from .tvm_engine import TvmEngine
    except ImportError as error:
        raise ModelError(
            f"tvm cannot be imported ({error}); run: pip install {TVM_REQUIREMENTS}"
        ) from error
    return TvmEngine(folder, manifest, threads)


def _by_length(sources: Sequence[Sequence[int]]) -> list[list[int]]:
    """Indices of the sources, longest first, in groups that one call takes."""
    groups: list[list[int]] = []
    for i in sorted(range(len(sources)), key=lambda i: -len(sources[i])):
        rows = (
            min(MAX_BATCH_ROWS, MAX_BATCH_POSITIONS // (len(sources[groups[-1][0]]) + 1))
            if groups
            else 0
        )
        if groups and len(groups[-1]) < rows:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups
