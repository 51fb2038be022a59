"""A bundle's `model.so` and `weights.bin` in TVM's runtime: encoder and decode step compiled, the
search in numpy.

One sentence at a time. The library is machine code: it does what whoever compiled it wanted,
whatever its hash.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm
from tvm.runtime.vm import VirtualMachine

from .errors import ModelError
from .manifest import LIBRARY_NAME, WEIGHTS_NAME, Manifest
from .step_search import Floats, Ids, SearchSettings, Step, search

TILE_ROWS = 8
"""Positions that the encoder computes together; sources are filled up to a multiple of it."""

ONE_KIND_OF_CORE = 1
MAX_MESSAGE_LENGTH = 300


class TvmEngine:
    """Translates ids with a compiled subnet.

    Parameters
    ----------
    threads
        Threads of TVM's pool, which all engines of a process share; None leaves it to TVM (one a
        physical core).

    Raises
    ------
    ModelError
        If TVM cannot load the library, or the weights are damaged.
    """

    def __init__(self, folder: Path, manifest: Manifest, threads: int | None) -> None:
        self._manifest = manifest
        self._settings = SearchSettings(
            beam=manifest.beam,
            length_penalty=manifest.length_penalty,
            bos_id=manifest.bos_id,
            eos_id=manifest.eos_id,
            max_steps=manifest.max_decode_steps,
        )
        if threads is not None:
            tvm.get_global_func("runtime.config_threadpool")(ONE_KIND_OF_CORE, threads)
        try:
            self._machine = VirtualMachine(
                tvm.runtime.load_module(str(folder / LIBRARY_NAME)), tvm.cpu()
            )
            self._step = self._machine["step"]
            self._encoders: dict[int, Any] = {}
            weights = _read_weights(folder / WEIGHTS_NAME)
            self._weights = tvm.runtime.convert(weights)
            self._num_positions, num_rows = (
                weights[0].shape[0],
                weights[1].shape[0] * weights[1].shape[2],
            )
        except (
            OSError,
            ValueError,
            IndexError,
            MemoryError,
            AttributeError,
            RuntimeError,
        ) as error:
            raise ModelError(
                f"TVM {tvm.__version__} cannot load {folder / LIBRARY_NAME}: {_first_words(error)}"
            ) from error
        if num_rows < manifest.vocab_size:
            raise ModelError(
                f"{folder / WEIGHTS_NAME} holds {num_rows} pieces, the manifest says {manifest.vocab_size}"
            )

    def translate(
        self, sources: Sequence[Sequence[int]], max_steps: int | None = None, min_steps: int = 0
    ) -> list[list[int]]:
        """Translate ids, one sentence after the other, into ids, both without begin and end.

        Parameters
        ----------
        max_steps, min_steps
            Bounds of the search; the manifest's and none, if not given.

        Raises
        ------
        ModelError
            If a source is longer than the library takes, or TVM fails.
        """
        limit = self._manifest.max_decode_steps if max_steps is None else max_steps
        settings = dataclasses.replace(self._settings, max_steps=limit, min_steps=min_steps)
        longest = max([limit, *(len(ids) + 1 for ids in sources)])
        if longest > self._num_positions:  # compiled code checks no index
            raise ModelError(
                f"the bundle '{self._manifest.name}' could not run: it takes {self._num_positions} positions, "
                f"not {longest}"
            )
        try:
            return [search(self._start(ids), settings) for ids in sources]
        except (ValueError, TypeError, RuntimeError) as error:
            raise ModelError(
                f"TVM could not run the bundle '{self._manifest.name}': {_first_words(error)}"
            ) from error

    def _start(self, ids: Sequence[int]) -> Step:
        """Encode a source; the function returned makes one step at each call, and holds the caches."""
        pad_id, eos_id, vocab_size = (
            self._manifest.pad_id,
            self._manifest.eos_id,
            self._manifest.vocab_size,
        )
        num_tiles = len(ids) // TILE_ROWS + 1  # one more for the end token
        source = np.full(num_tiles * TILE_ROWS, pad_id, np.int32)
        source[: len(ids) + 1] = [*ids, eos_id]
        length, zero = _tensor([len(ids) + 1]), _tensor([0])
        encode = self._encoder(num_tiles * TILE_ROWS)
        memories = encode(
            _tensor(source.reshape(num_tiles, TILE_ROWS)), length, zero, self._weights
        )
        empty = np.zeros((self._manifest.beam, 0, memories[0].shape[2] // 2), np.float32)
        position, caches = 0, [tvm.runtime.tensor(empty)] * (2 * len(memories))

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
            return np.asarray(logits.numpy()[0, :, :vocab_size], np.float32)

        return step

    def _encoder(self, length: int) -> Any:
        """The function that was tuned for this padded length, or the one for all."""
        if length not in self._encoders:
            try:
                self._encoders[length] = self._machine[f"encode_{length}"]
            except AttributeError:
                self._encoders[length] = self._machine["encode"]
        return self._encoders[length]


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
