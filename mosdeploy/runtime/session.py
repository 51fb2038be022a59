"""A bundle's `model.onnx` in ONNX Runtime: the whole translation, search included, is inside the
model.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from .errors import ModelError
from .manifest import ONNX_MODEL_NAME, Manifest

INPUTS, OUTPUTS = ["source_ids", "max_steps", "min_steps"], ["output_ids"]


class OnnxEngine:
    """Translates batches of ids; see `Translator` for what the arguments mean.

    Raises
    ------
    ModelError
        If ONNX Runtime lacks a provider, or cannot load the model.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        threads: int | None,
        providers: Sequence[str] | None = None,
    ) -> None:
        self._manifest = manifest
        self._session = _open(
            folder / ONNX_MODEL_NAME, threads, providers or ["CPUExecutionProvider"]
        )

    def translate(
        self, sources: Sequence[Sequence[int]], max_steps: int | None = None, min_steps: int = 0
    ) -> list[list[int]]:
        """Translate ids, padded together, into ids, both without begin and end.

        Parameters
        ----------
        max_steps, min_steps
            Bounds of the search; the manifest's and none, if not given.

        Raises
        ------
        ModelError
            If ONNX Runtime fails.
        """
        pad_id, eos_id = self._manifest.pad_id, self._manifest.eos_id
        batch = np.full((len(sources), max(map(len, sources)) + 1), pad_id, np.int64)  # (B, S)
        for row, ids in enumerate(sources):
            batch[row, : len(ids) + 1] = [*ids, eos_id]
        most = self._manifest.max_decode_steps if max_steps is None else max_steps
        limits = np.array(most, np.int64), np.array(min_steps, np.int64)
        try:
            (output,) = self._session.run(OUTPUTS, dict(zip(INPUTS, (batch, *limits))))  # noqa: B905 (Python 3.9)
        except Exception as error:  # ONNX Runtime's errors have no common base but this
            raise ModelError(
                f"ONNX Runtime could not run the bundle '{self._manifest.name}': {error}"
            ) from error
        _check_output(output, len(sources), self._manifest.vocab_size)
        return [_until(eos_id, row) for row in output.tolist()]


def _open(path: Path, threads: int | None, providers: Sequence[str]) -> Any:
    missing = [name for name in providers if name not in onnxruntime.get_available_providers()]
    if missing:  # ONNX Runtime would take the CPU instead
        raise ModelError(
            f"this ONNX Runtime has no {missing[0]}, only {onnxruntime.get_available_providers()}"
        )
    _refuse_external_data(path)
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=list(providers), enable_fallback=0
        )
    except Exception as error:  # ONNX Runtime's errors have no common base but this
        raise ModelError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load {path}: {error}"
        ) from error
    if session.get_providers()[0] != providers[0]:
        raise ModelError(
            f"{providers[0]} does not work here; ONNX Runtime would take {session.get_providers()[0]}"
        )
    found = [[x.name for x in side] for side in (session.get_inputs(), session.get_outputs())]
    if found != [INPUTS, OUTPUTS]:
        raise ModelError(
            f"{path} has inputs and outputs {found}, not {[INPUTS, OUTPUTS]}; export the bundle again"
        )
    return session


def _refuse_external_data(path: Path) -> None:
    """Make sure that a model names no other file: older versions of ONNX Runtime follow such a name
    anywhere.

    Whatever the encoding, a tensor that lies elsewhere says so under the key `location`; no model
    of ours has the word.
    """
    if path.stat().st_size == 0:
        raise ModelError(f"{path} is empty; export the bundle again")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(b"location") >= 0:
            raise ModelError(
                f"{path} refers to other files; the model of a bundle carries its weights inside"
            )


def _check_output(output: Any, num_rows: int, vocab_size: int) -> None:
    if output.dtype != np.int64 or output.ndim != 2 or len(output) != num_rows:
        raise ModelError(
            f"the model answered {num_rows} lines with {output.dtype} of shape {output.shape}"
        )
    if output.size and not 0 <= output.min() <= output.max() < vocab_size:
        raise ModelError(
            f"the model answered with ids from {output.min()} to {output.max()}, of {vocab_size} pieces"
        )


def _until(eos_id: int, ids: list[int]) -> list[int]:
    return ids[: ids.index(eos_id)] if eos_id in ids else ids
