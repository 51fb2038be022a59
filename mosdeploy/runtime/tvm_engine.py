"""A translation bundle's `model.so` and `weights.bin` in TVM's runtime: encoder and decode step
compiled, the search in numpy.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm
from tvm.runtime.vm import VirtualMachine

from .errors import ModelError
from .execution import leave_tvm_threads_unbound
from .manifest import LIBRARY_NAME, WEIGHTS_NAME, Manifest, TranslationSettings
from .step_search import Floats, Ids, Step, search

TILE_ROWS = 8
"""Positions that the encoder computes together; sources are filled up to a multiple of it."""

ONE_KIND_OF_CORE = 1
MAX_MESSAGE_LENGTH = 300
LOAD_ERRORS = (OSError, ValueError, IndexError, MemoryError, AttributeError, RuntimeError)


class TvmEngine:
    """Translates ids with a compiled subnet; all engines of a process share TVM's threads."""

    def __init__(
        self, folder: Path, manifest: Manifest, settings: TranslationSettings, threads: int = 1
    ) -> None:
        self._name = manifest.name
        self._vocab_size = manifest.vocab_size
        self._settings = settings
        # two threads in one virtual machine end the process
        self._lock = threading.Lock()
        leave_tvm_threads_unbound()
        tvm.get_global_func("runtime.config_threadpool")(ONE_KIND_OF_CORE, threads)
        try:
            self._load(folder)
        except LOAD_ERRORS as error:
            raise ModelError(
                f"TVM {tvm.__version__} cannot load {folder / LIBRARY_NAME}: {_first_words(error)}"
            ) from error
        if self._num_rows < manifest.vocab_size:
            raise ModelError(
                f"{folder / WEIGHTS_NAME} holds {self._num_rows} tokens, "
                f"the manifest says {manifest.vocab_size}"
            )

    def translate(
        self, sources: Sequence[Sequence[int]], max_steps: int | None = None, min_steps: int = 0
    ) -> list[list[int]]:
        """Translate ids, one sentence after the other, into ids, both without begin and end."""
        limit = self._settings.max_decode_steps if max_steps is None else max_steps
        settings = dataclasses.replace(self._settings, max_decode_steps=limit)
        longest = max([limit, *(len(ids) + 1 for ids in sources)])
        if longest > self._num_positions:  # compiled code checks no index
            raise ModelError(
                f"the bundle '{self._name}' could not run: it takes {self._num_positions} "
                f"positions, not {longest}"
            )
        try:
            with self._lock:
                return [search(self._start(ids), settings, min_steps) for ids in sources]
        except (ValueError, TypeError, RuntimeError) as error:
            raise ModelError(
                f"TVM could not run the bundle '{self._name}': {_first_words(error)}"
            ) from error

    def run(self, inputs: Mapping[str, npt.NDArray[np.int64]]) -> object:
        """Translate `source_ids` (1, S), the last of which the end token replaces, in the number of
        steps that `max_steps` and `min_steps` say.
        """
        sources = inputs["source_ids"][:, :-1].tolist()
        return self.translate(sources, int(inputs["max_steps"]), int(inputs["min_steps"]))

    def _load(self, folder: Path) -> None:
        library = tvm.runtime.load_module(str(folder / LIBRARY_NAME))
        self._machine = VirtualMachine(library, tvm.cpu())
        self._step = self._machine["step"]
        self._encode = self._machine["encode"]
        weights = _read_weights(folder / WEIGHTS_NAME)
        # sinusoids (positions, width), then the table in panels (V / P, width, P)
        positions = weights[0].shape
        table = weights[1].shape
        self._num_positions = int(positions[0])
        self._num_rows = int(table[0]) * int(table[2])
        self._weights = tvm.runtime.convert(weights)

    def _start(self, ids: Sequence[int]) -> Step:
        """Encode a source; give a function that makes one decode step at each call."""
        num_tiles = len(ids) // TILE_ROWS + 1  # one more for the end token
        source = np.full(num_tiles * TILE_ROWS, self._settings.pad_id, np.int32)
        source[: len(ids) + 1] = [*ids, self._settings.eos_id]
        length = _tensor([len(ids) + 1])
        tiles = _tensor(source.reshape(num_tiles, TILE_ROWS))
        memories = self._encode(tiles, length, _tensor([0]), self._weights)
        # keys and values of each layer's self-attention, (K, 0, Q) before the first step
        empty = np.zeros((self._settings.beam, 0, memories[0].shape[2] // 2), np.float32)
        caches = [tvm.runtime.tensor(empty)] * (2 * len(memories))
        position = 0

        def step(tokens: Ids, parents: Ids) -> Floats:
            nonlocal position, caches
            logits, caches = self._step(
                _tensor(tokens[None]),
                _tensor([position]),
                _tensor(parents),
                length,
                caches,
                memories,
                self._weights,
            )
            position += 1
            # the table is filled up to whole panels: what lies past the vocabulary is no token
            return np.asarray(logits.numpy()[0, :, : self._vocab_size], np.float32)  # (K, V)

        return step


def _tensor(values: npt.ArrayLike) -> Any:
    return tvm.runtime.tensor(np.asarray(values, np.int32))


def _first_words(error: Exception) -> str:
    """What TVM says, without the types of all weights."""
    return str(error)[:MAX_MESSAGE_LENGTH]


def _read_weights(path: Path) -> list[Any]:
    """Arrays that were saved one after the other, as tensors."""
    tensors = []
    with path.open("rb") as file:
        while file.peek(1):
            tensors.append(tvm.runtime.tensor(np.load(file, allow_pickle=False)))
    return tensors
