"""Blocks of rows that were measured at another speed: a throttled or busy device, for minutes on
end.

In: columns and latencies in the order of measuring. Out: runs of rows whose level, relative to the
rest, jumps. A bad row here and there is no block; the robust fit copes with those.
"""

import numpy as np
import numpy.typing as npt

from ..records import RowBlock
from ..spaces.latency_features import FloatArray
from .regression import fit_nonnegative

WINDOW = 11
"""Rows of the running median, and the least that make a block."""
MIN_JUMP = 0.02
MIN_JUMP_DEVIATIONS = 2.0
"""A block's level lies this far from the rest: five standard deviations of the running median of
ordinary rows.
"""


def find_outlier_blocks(columns: FloatArray, latency_ms: FloatArray) -> tuple[RowBlock, ...]:
    """Find the runs of rows whose latency is off by a common factor.

    Parameters
    ----------
    columns
        Shape (N, C), physical columns (columns.py) in the order of measuring.
    latency_ms
        Shape (N,), in milliseconds.
    """
    if len(latency_ms) < 4 * WINDOW:
        return ()
    model = fit_nonnegative(columns, latency_ms, core_only=True)
    residual = np.log(latency_ms / model.predict(columns))
    residual -= np.median(residual[model.weights > 0])
    deviation = 1.4826 * float(np.median(np.abs(residual)))
    threshold = max(MIN_JUMP, MIN_JUMP_DEVIATIONS * deviation)
    padded = np.pad(residual, WINDOW // 2, mode="reflect")
    level = np.median(np.lib.stride_tricks.sliding_window_view(padded, WINDOW), axis=1)
    return tuple(
        RowBlock(start=start, stop=stop, time_ratio=float(np.exp(np.median(residual[start:stop]))))
        for start, stop in _runs(np.abs(level) > threshold)
        if stop - start >= WINDOW
    )


def rows_outside(blocks: tuple[RowBlock, ...], num_rows: int) -> npt.NDArray[np.bool_]:
    """Mask (num_rows,) of the rows in no block."""
    outside = np.ones(num_rows, dtype=np.bool_)
    for block in blocks:
        outside[block.start : block.stop] = False
    return outside


def _runs(marked: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]
