"""A bundle's `model.onnx` in ONNX Runtime, with checks that the model is what a bundle's may be.

In: a file that anyone may have written, and the names that its inputs and outputs must have. Out: a
`ModelSession` that runs it. This file knows no family.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from .errors import ModelError
from .listed import check_listed
from .manifest import INDEPENDENT_ROWS

CPU_PROVIDER = "CPUExecutionProvider"
BLOCK_BYTES = 1 << 20


class ModelSession:
    """A model that ONNX Runtime has loaded.

    Parameters
    ----------
    path
        The ONNX file.
    inputs, outputs
        The names that the model must have, in order.
    threads
        Threads inside an operator; None leaves it to ONNX Runtime (one a physical core). On the
        CPU, the rows of a model with `INDEPENDENT_ROWS` are shared out to so many calls at a time,
        None being one a core, each on a thread of its own.
    providers
        Execution providers, best first; None is the CPU.

    Raises
    ------
    ModelError
        If ONNX Runtime lacks a provider or cannot load the model; if the model refers to other
        files, or has other inputs or outputs.
    InputError
        If `providers` is one name, not a list.
    """

    def __init__(
        self,
        path: Path,
        inputs: Sequence[str],
        outputs: Sequence[str],
        threads: int | None = None,
        providers: Sequence[str] | None = None,
    ) -> None:
        if providers is not None:
            check_listed(providers, "provider")
        self._path = path
        self._outputs = list(outputs)
        providers = list(providers or [CPU_PROVIDER])
        _refuse_external_data(path)
        self._calls: ThreadPoolExecutor | None = None
        self._num_calls = 1
        if providers[0] == CPU_PROVIDER and _has(path, INDEPENDENT_ROWS):
            self._num_calls = threads or _num_cores()
            self._calls = ThreadPoolExecutor(self._num_calls)
            threads = 1
        self._session = _load(path, threads, providers)
        sides = (self._session.get_inputs(), self._session.get_outputs())
        found = [[value.name for value in side] for side in sides]
        expected = [list(inputs), self._outputs]
        if found != expected:
            raise ModelError(
                f"{path} has inputs and outputs {found}, not {expected}; export the bundle again"
            )

    def run(self, inputs: Mapping[str, npt.NDArray[np.generic]]) -> list[Any]:
        """Run the model on inputs by name; give its outputs in order.

        Raises
        ------
        ModelError
            If ONNX Runtime fails.
        """
        try:
            num_calls = self._num_calls
            if self._calls is not None:
                num_calls = min(num_calls, *(len(array) for array in inputs.values()))
            if self._calls is None or num_calls < 2:
                return list(self._session.run(self._outputs, dict(inputs)))
            # rows are sorted by length: in turns, every call has long ones and short ones
            shares = [
                {name: np.ascontiguousarray(array[i::num_calls]) for name, array in inputs.items()}
                for i in range(num_calls)
            ]
            parts = self._calls.map(lambda share: self._session.run(self._outputs, share), shares)
            return [_in_turns(outputs) for outputs in zip(*parts)]  # noqa: B905 (Python 3.9)
        except Exception as error:  # ONNX Runtime's errors have no common base but this
            raise ModelError(f"ONNX Runtime could not run {self._path}: {error}") from error


def _load(path: Path, threads: int | None, providers: Sequence[str]) -> Any:
    available = onnxruntime.get_available_providers()
    missing = [name for name in providers if name not in available]
    if missing:  # ONNX Runtime would take the CPU instead
        raise ModelError(f"this ONNX Runtime has no {missing[0]}, only {available}")
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
            f"{providers[0]} does not work here; "
            f"ONNX Runtime would take {session.get_providers()[0]}"
        )
    return session


def _in_turns(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Rows (N, ...) of which part i has every row i, i + number of parts, and so on."""
    rows = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    for i, part in enumerate(parts):
        rows[i :: len(parts)] = part
    return rows


def _num_cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS


def _refuse_external_data(path: Path) -> None:
    """Make sure that a model names no other file: older versions of ONNX Runtime follow such a name
    anywhere.

    Whatever the encoding, a tensor that lies elsewhere says so under the key `location`; no model
    of a bundle has the word.
    """
    if _has(path, "location"):
        raise ModelError(
            f"{path} refers to other files; the model of a bundle carries its weights inside"
        )


def _has(path: Path, word: str) -> bool:
    """Whether the bytes of a file have a word."""
    key = word.encode()
    content = b""
    try:
        # not through a memory map: a disk that fails would end the process with SIGBUS
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                content = content[1 - len(key) :] + block  # the word may lie across two blocks
                if key in content:
                    return True
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    if not content:
        raise ModelError(f"{path} is empty; export the bundle again")
    return False
