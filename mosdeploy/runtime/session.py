"""A bundle's `model.onnx` in ONNX Runtime, with checks that the model is what a bundle's may be."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from .errors import ModelError
from .execution import CPU_PROVIDER, GPU_PROVIDERS, OPENVINO_PROVIDER
from .manifest import INDEPENDENT_ROWS
from .texts import check_texts

EXTERNAL_DATA = "location"
"""Key of a tensor that lies in another file, whatever the encoding; no model of a bundle has the
word.
"""
BLOCK_BYTES = 1 << 20


class LoadedModel:
    """A model that ONNX Runtime has loaded on exactly the provider that was asked for.

    On the CPU, independent rows are shared out to as many calls at a time as there are threads,
    each on a thread of its own.
    """

    def __init__(
        self, model: str | bytes, threads: int, providers: Sequence[str], independent: bool = False
    ) -> None:
        self._num_calls = threads if independent and providers[0] == CPU_PROVIDER else 1
        self._start_calls()
        self.session = _load(model, 1 if self._num_calls > 1 else threads, providers)

    def run(
        self, inputs: Mapping[str, npt.NDArray[np.generic]], outputs: Sequence[str] | None = None
    ) -> list[Any]:
        """Run the model on inputs by name; give some of its outputs, or all."""
        if self._num_calls == 1:
            return list(self.session.run(outputs, dict(inputs)))
        count = min(self._num_calls, *map(len, inputs.values()))
        # rows are sorted by length: in turns, every call has long ones and short ones
        shares = [
            {name: np.ascontiguousarray(array[i::count]) for name, array in inputs.items()}
            for i in range(count)
        ]
        if self._process != os.getpid():  # forked: the threads are those of the parent
            self._start_calls()
        parts = self._calls.map(lambda share: self.session.run(outputs, share), shares)
        return [_in_turns(found) for found in zip(*parts)]  # noqa: B905 (Python 3.9)

    def _start_calls(self) -> None:
        self._calls = ThreadPoolExecutor(self._num_calls)  # starts no thread before it is asked
        self._process = os.getpid()


class ModelSession:
    """A bundle's model, loaded, with the inputs and outputs that it must have."""

    def __init__(
        self,
        path: Path,
        inputs: Sequence[str],
        outputs: Sequence[str],
        threads: int = 1,
        providers: Sequence[str] | None = None,
    ) -> None:
        if providers is not None:
            check_texts(providers, "provider")
        self._path = path
        self._outputs = list(outputs)
        providers = list(providers or [CPU_PROVIDER])
        words = words_in(path, (EXTERNAL_DATA, INDEPENDENT_ROWS))
        if EXTERNAL_DATA in words:
            raise ModelError(
                f"{path} refers to other files; the model of a bundle carries its weights inside"
            )
        self._model = LoadedModel(str(path), threads, providers, INDEPENDENT_ROWS in words)
        sides = (self._model.session.get_inputs(), self._model.session.get_outputs())
        found = [[value.name for value in side] for side in sides]
        expected = [list(inputs), self._outputs]
        if found != expected:
            raise ModelError(
                f"{path} has inputs and outputs {found}, not {expected}; export the bundle again"
            )

    def run(self, inputs: Mapping[str, npt.NDArray[np.generic]]) -> list[Any]:
        """Run the model on inputs by name; give its outputs in order."""
        try:
            return self._model.run(inputs, self._outputs)
        except Exception as error:  # ONNX Runtime's errors have no common base but this
            raise ModelError(f"ONNX Runtime could not run {self._path}: {error}") from error


def _load(model: str | bytes, threads: int, providers: Sequence[str]) -> Any:
    available = onnxruntime.get_available_providers()
    missing = [name for name in providers if name not in available]
    if missing:  # ONNX Runtime would take the CPU instead
        version = onnxruntime.__version__
        raise ModelError(f"ONNX Runtime {version} here has no {missing[0]}, only {available}")
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    if providers[0] in GPU_PROVIDERS and hasattr(onnxruntime, "preload_dlls"):
        # of CUDA that pip installed the loader knows nothing; what this prints is no answer
        with contextlib.redirect_stdout(sys.stderr):
            onnxruntime.preload_dlls()
    settings: dict[str, dict[str, str]] = {}
    # a GPU's fp32 would be TF32, which has 10 bits; builds before 1.18 refuse the word
    version = tuple(map(int, onnxruntime.__version__.split(".")[:2]))
    if version >= (1, 18):
        settings[GPU_PROVIDERS[0]] = {"use_tf32": "0"}
    settings[OPENVINO_PROVIDER] = {"num_of_threads": str(threads)}  # it reads no session's
    try:
        session = onnxruntime.InferenceSession(
            model,
            options,
            providers=list(providers),
            provider_options=[settings.get(name, {}) for name in providers],
            enable_fallback=0,
        )
    except Exception as error:  # ONNX Runtime's errors have no common base but this
        name = model if isinstance(model, str) else "a model"
        raise ModelError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load {name}: {error}"
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


def words_in(path: Path, words: Sequence[str]) -> set[str]:
    """Which of some words the bytes of a file have."""
    keys = {word: word.encode() for word in words}
    overlap = max(map(len, keys.values())) - 1  # a word may lie across two blocks
    found: set[str] = set()
    content = b""
    try:
        # not through a memory map: a disk that fails would end the process with SIGBUS
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                content = content[-overlap:] + block
                found |= {word for word, key in keys.items() if key in content}
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    if not content:
        raise ModelError(f"{path} is empty; export the bundle again")
    return found
