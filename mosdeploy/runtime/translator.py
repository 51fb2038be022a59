"""A bundle, opened and ready to translate.

In: lines of text. Out: lines of text. Lines of similar length share one call of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from .errors import ModelError
from .manifest import MODEL_NAME, TOKENIZER_NAME, check_files, read_manifest
from .pieces import Pieces

MAX_BATCH_ROWS = 32
MAX_BATCH_POSITIONS = 2048  # padded source positions in one call

INPUTS, OUTPUTS = ["source_ids", "max_steps", "min_steps"], ["output_ids"]


class Translator:
    """Translates with a bundle.

    In fp32 the answer for a line does not depend on the lines beside it. In int8 it may, in rare words: activations
    are quantised on the fly with one scale for all that is computed together.

    Parameters
    ----------
    bundle_dir
        Folder of the bundle. Its files are checked against the hashes in its manifest.
    threads
        Threads that ONNX Runtime may use; None leaves it to ONNX Runtime (one a physical core).
    providers
        ONNX Runtime execution providers, best first; None is the CPU.

    Raises
    ------
    BundleError
        If the bundle is not whole, is not what its manifest says, or cannot be loaded.
    """

    def __init__(
        self, bundle_dir: str | Path, threads: int | None = None, providers: Sequence[str] | None = None
    ) -> None:
        folder = Path(bundle_dir)
        self.manifest = read_manifest(folder)
        check_files(folder, self.manifest)
        self.pieces = Pieces(folder / TOKENIZER_NAME, self.manifest.vocab_size)
        self._session = _open(folder / MODEL_NAME, threads, providers or ["CPUExecutionProvider"])

    def translate(self, lines: Sequence[str]) -> list[str]:
        """Translate lines, in the order given.

        An empty line is answered by an empty line. A line of more than `manifest.max_source_len` pieces is translated
        in parts (see `pieces`). Characters that the tokenizer does not know are read as unknown.

        Raises
        ------
        ModelError
            If ONNX Runtime fails.
        """
        parts = [self.pieces.encode_parts(line, self.manifest.max_source_len) for line in lines]
        answers = iter(self.translate_ids([ids for line_parts in parts for ids in line_parts]))
        texts = [[self.pieces.decode(next(answers)) for _ in line_parts] for line_parts in parts]
        return [" ".join(text for text in line_texts if text) for line_texts in texts]

    def translate_ids(self, sources: Sequence[Sequence[int]]) -> list[list[int]]:
        """Translate piece ids, without begin and end, into piece ids; no source may be longer than the limit.

        Raises
        ------
        ModelError
            If ONNX Runtime fails.
        """
        answers: list[list[int]] = [[] for _ in sources]
        for group in _by_length(sources):
            for index, ids in zip(group, self._run([sources[i] for i in group])):  # noqa: B905 (Python 3.9)
                answers[index] = ids
        return answers

    def _run(self, sources: Sequence[Sequence[int]]) -> list[list[int]]:
        pad_id, eos_id = self.manifest.pad_id, self.manifest.eos_id
        batch = np.full((len(sources), max(map(len, sources)) + 1), pad_id, np.int64)  # (B, S)
        for row, ids in enumerate(sources):
            batch[row, : len(ids) + 1] = [*ids, eos_id]
        limits = np.array(self.manifest.max_decode_steps, np.int64), np.array(0, np.int64)
        try:
            (output,) = self._session.run(OUTPUTS, dict(zip(INPUTS, (batch, *limits))))  # noqa: B905 (Python 3.9)
        except Exception as error:  # ONNX Runtime's errors have no common base but this
            raise ModelError(f"ONNX Runtime could not run the bundle '{self.manifest.name}': {error}") from error
        return [_until(eos_id, row) for row in output.tolist()]


def _open(path: Path, threads: int | None, providers: Sequence[str]) -> Any:
    missing = [name for name in providers if name not in onnxruntime.get_available_providers()]
    if missing:  # ONNX Runtime would take the CPU instead
        raise ModelError(f"this ONNX Runtime has no {missing[0]}, only {onnxruntime.get_available_providers()}")
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # ONNX Runtime's errors have no common base but this
        raise ModelError(f"ONNX Runtime {onnxruntime.__version__} cannot load {path}: {error}") from error
    if session.get_providers()[0] != providers[0]:
        raise ModelError(f"{providers[0]} does not work here; ONNX Runtime would take {session.get_providers()[0]}")
    found = [[x.name for x in side] for side in (session.get_inputs(), session.get_outputs())]
    if found != [INPUTS, OUTPUTS]:
        raise ModelError(f"{path} has inputs and outputs {found}, not {[INPUTS, OUTPUTS]}; export the bundle again")
    return session


def _by_length(sources: Sequence[Sequence[int]]) -> list[list[int]]:
    """Indices of the sources, longest first, in groups that one call takes."""
    groups: list[list[int]] = []
    for i in sorted(range(len(sources)), key=lambda i: -len(sources[i])):
        rows = min(MAX_BATCH_ROWS, MAX_BATCH_POSITIONS // (len(sources[groups[-1][0]]) + 1)) if groups else 0
        if groups and len(groups[-1]) < rows:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _until(eos_id: int, ids: list[int]) -> list[int]:
    return ids[: ids.index(eos_id)] if eos_id in ids else ids
