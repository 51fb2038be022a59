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
from ...data.batches import Ragged
from ...storage import atomic_write, readable_record, write_record
from ...supernet.elastic import Subnet
from ...training.device import COMPUTE_MODES, ComputeModeTrial, DeviceContext, fastest
from .dataset import BatchLayout
from .scoring import BATCH_TEXTS, outputs_of

TRIAL_TEXTS = 2 * BATCH_TEXTS

PART_TEXTS = 64 * BATCH_TEXTS
"""Texts of a file, and what a kill costs at most."""

TRIAL_NAME = "outputs-precision.json"
"""The choice of a precision, which holds for all outputs of a teacher."""

_DAMAGE = (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""Errors of numpy and zipfile on a damaged file."""

Show = Callable[[int, int], None]
"""Told how many of all texts have outputs."""


class TeacherOutputs:
    """Outputs for each text, kept in files of `PART_TEXTS`: (C,), of its pieces (length, C), or
    (d,).
    """

    def __init__(self, folder: Path, ids: Ragged) -> None:
        digest = hashlib.sha256(ids.offsets.tobytes())
        digest.update(np.ascontiguousarray(ids.flat).tobytes())
        self._folder = folder
        self._name = f"outputs-{digest.hexdigest()[:16]}"
        self._ids = ids
        self._num_done = 0
        # in the order of the texts
        self.values: list[npt.NDArray[np.float32]] = [np.empty(0, np.float32)] * len(ids)
        order = np.argsort(ids.lengths, kind="stable")
        starts = range(0, len(ids), PART_TEXTS)
        parts = {i: order[start : start + PART_TEXTS] for i, start in enumerate(starts)}
        self._missing = {i: rows for i, rows in parts.items() if not self._read(i, rows)}

    @property
    def is_whole(self) -> bool:
        """Whether there are outputs for all texts."""
        return not self._missing

    def compute(
        self,
        network: Subnet,
        layout: BatchLayout,
        training: TrainingConfig,
        show: Show | None = None,
    ) -> None:
        """Compute the missing outputs. The network is left on the CPU."""
        missing = np.concatenate([*self._missing.values()]) if self._missing else ()
        context = self._context(network, [self._ids[i].tolist() for i in missing], layout, training)
        network.to(context.device)

        def tell(num_done: int) -> None:
            if show is not None:
                show(self._num_done + num_done, len(self._ids))

        for number, rows in list(self._missing.items()):
            texts = [self._ids[i].tolist() for i in rows]
            found = [x.numpy() for x in _outputs(network, texts, layout, context, tell)]
            buffer = io.BytesIO()  # outputs of any length end to end, and where each ends
            ends = np.cumsum([len(output) for output in found])
            np.savez(buffer, outputs=np.concatenate(found), ends=ends)
            atomic_write(self._path(number), buffer.getvalue())
            self._take(rows, found)
            del self._missing[number]
        network.to("cpu")

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._name}-{number}.npz"

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

    def _take(self, rows: npt.NDArray[np.int64], found: Sequence[npt.NDArray[np.float32]]) -> None:
        for row, output in zip(rows, found, strict=True):
            self.values[row] = output
        self._num_done += len(rows)

    def _context(
        self,
        network: Subnet,
        texts: Sequence[Sequence[int]],
        layout: BatchLayout,
        training: TrainingConfig,
    ) -> DeviceContext:
        """Choose where and in which precision to compute; on a CPU, by trying on some texts."""
        context = DeviceContext.of(training)
        if training.amp != "auto" or context.device.type != "cpu":
            return context
        trial = readable_record(ComputeModeTrial, self._folder / TRIAL_NAME)
        if trial is None:
            if len(texts) <= 2 * TRIAL_TEXTS:
                return context
            sample = texts[:: len(texts) // TRIAL_TEXTS][:TRIAL_TEXTS]  # of all lengths
            compute = partial(_outputs, network, sample, layout)
            trial = fastest(
                {mode: partial(compute, mode.within(context)) for mode in COMPUTE_MODES}
            )
            write_record(self._folder / TRIAL_NAME, trial)
        return trial.mode.within(context)


def _outputs(
    network: Subnet,
    texts: Sequence[Sequence[int]],
    layout: BatchLayout,
    context: DeviceContext,
    show: Callable[[int], None] | None = None,
) -> list[Tensor]:
    with context.attention(), context.autocast():
        return outputs_of(network, texts, layout, show)
