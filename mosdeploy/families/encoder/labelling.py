"""Outputs of a teacher for all texts that others learn from."""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ...config.sections import TrainingConfig
from ...data.ragged import Ragged
from ...storage import atomic_write, readable_record, write_record
from ...supernet.elastic import Subnet
from ...training.device import DeviceContext
from ...training.precision import WAYS, PrecisionTrial, fastest
from .dataset import BatchLayout
from .scoring import BATCH_TEXTS, outputs_of

TRIAL_TEXTS = 2 * BATCH_TEXTS

PART_TEXTS = 64 * BATCH_TEXTS
"""Texts of a file, and what a kill costs at most."""

TRIAL_NAME = "outputs-precision.json"
"""Of the choice of a precision, which holds for all outputs of a teacher."""

_DAMAGE = (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What numpy and zipfile raise on a file that is not what was written."""

Outputs = list[npt.NDArray[np.float32]]
Show = Callable[[int, int], None]
"""Told how many of all texts have outputs."""


class Labels:
    """Outputs for each text: (C,), of its pieces (length, C), or (d,)."""

    def __init__(self, folder: Path, ids: Ragged) -> None:
        digest = hashlib.sha256(ids.offsets.tobytes())
        digest.update(np.ascontiguousarray(ids.flat).tobytes())
        self._trial_path = folder / TRIAL_NAME
        self._name = str(folder / f"outputs-{digest.hexdigest()[:16]}")
        self._ids = ids
        self._num_kept = 0
        self._outputs: Outputs = [np.empty(0, np.float32)] * len(ids)
        order = np.argsort(ids.lengths, kind="stable")
        parts = range(0, len(ids), PART_TEXTS)
        rows = {number: order[start : start + PART_TEXTS] for number, start in enumerate(parts)}
        self._missing = {number: x for number, x in rows.items() if not self._read(number, x)}

    @property
    def is_whole(self) -> bool:
        """Whether there are outputs for all texts."""
        return not self._missing

    @property
    def outputs(self) -> Outputs:
        """In the order of the texts."""
        return self._outputs

    def compute(
        self,
        network: Subnet,
        layout: BatchLayout,
        training: TrainingConfig,
        show: Show | None = None,
    ) -> None:
        """Compute what is missing. The network is left on the CPU."""
        missing = np.concatenate([*self._missing.values()]) if self._missing else ()
        texts = [self._ids[i].tolist() for i in missing]
        context = _context(network, texts, layout, training, self._trial_path)
        network.to(context.device)
        while self._missing:
            number, rows = next(iter(self._missing.items()))
            told = None if show is None else partial(self._tell, show)
            texts = [self._ids[i].tolist() for i in rows]
            found = [x.numpy() for x in _outputs(network, texts, layout, context, told)]
            atomic_write(self._path(number), _packed(found))
            self._take(rows, found)
            del self._missing[number]
        network.to("cpu")

    def _tell(self, show: Show, num_done: int) -> None:
        show(self._num_kept + num_done, len(self._ids))

    def _path(self, number: int) -> Path:
        return Path(f"{self._name}-{number}.npz")

    def _read(self, number: int, rows: npt.NDArray[np.int64]) -> bool:
        try:
            with self._path(number).open("rb") as file, np.load(file) as arrays:
                found = np.split(arrays["outputs"], arrays["ends"][:-1])
        except _DAMAGE:
            return False  # they are computed again
        if len(found) != len(rows):
            return False
        self._take(rows, found)
        return True

    def _take(self, rows: npt.NDArray[np.int64], found: Outputs) -> None:
        for row, output in zip(rows, found, strict=True):
            self._outputs[row] = output
        self._num_kept += len(rows)


def _packed(outputs: Outputs) -> bytes:
    """Outputs of any length one behind the other, with the place where each ends."""
    buffer = io.BytesIO()
    ends = np.cumsum([len(output) for output in outputs])
    np.savez(buffer, outputs=np.concatenate(outputs), ends=ends)
    return buffer.getvalue()


def _context(
    network: Subnet,
    texts: Sequence[Sequence[int]],
    layout: BatchLayout,
    training: TrainingConfig,
    trial_path: Path,
) -> DeviceContext:
    """Where and in which precision to compute; all that a trial chose for, in that one."""
    context = DeviceContext.of(training)
    if training.amp != "auto" or context.device.type != "cpu":
        return context
    kept = readable_record(PrecisionTrial, trial_path)
    if kept is not None:
        return kept.way.within(context)
    if len(texts) <= 2 * TRIAL_TEXTS:
        return context
    sample = texts[:: len(texts) // TRIAL_TEXTS][:TRIAL_TEXTS]  # of all lengths
    trial = fastest(
        {way: partial(_outputs, network, sample, layout, way.within(context)) for way in WAYS}
    )
    write_record(trial_path, trial)
    return trial.way.within(context)


def _outputs(
    network: Subnet,
    texts: Sequence[Sequence[int]],
    layout: BatchLayout,
    context: DeviceContext,
    told: Callable[[int], None] | None = None,
) -> list[Tensor]:
    with context.attention(), context.autocast():
        return outputs_of(network, texts, layout, told)
