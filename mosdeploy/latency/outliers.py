"""Blocks of rows that were measured at another speed: a throttled or busy device, for minutes on
end.
"""

import numpy as np
import numpy.typing as npt

from ..records import RowBlock
from ..spaces.spec import FloatArray
from .regression import fit_nonnegative

WINDOW = 11
"""Rows of the running median, and the least that make a block."""
MIN_JUMP = 0.02
MIN_JUMP_DEVIATIONS = 2.0
"""A block's time lies this far from the rest: five standard deviations of the running median of
ordinary rows.
"""


def find_outlier_blocks(
    features: FloatArray, latency_ms: FloatArray, num_core: int
) -> tuple[RowBlock, ...]:
    """Find the runs of rows whose latency is off by a common factor."""
    if len(latency_ms) < 4 * WINDOW:
        return ()
    model = fit_nonnegative(features, latency_ms, num_features=num_core)
    # in logs a common factor is a shift; (N,)
    residual = np.log(latency_ms / model.predict(features))
    # the rows that the fit kept are the ordinary ones
    residual -= np.median(residual[model.weights > 0])
    # 1.4826 makes it a standard deviation, if the noise is Gaussian
    deviation = 1.4826 * float(np.median(np.abs(residual)))
    threshold = max(MIN_JUMP, MIN_JUMP_DEVIATIONS * deviation)
    # a running median passes over single bad rows and keeps the edges of a block
    padded = np.pad(residual, WINDOW // 2, mode="reflect")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, WINDOW), axis=1)
    return tuple(
        RowBlock(start=start, stop=stop, time_ratio=float(np.exp(np.median(residual[start:stop]))))
        for start, stop in _runs(np.abs(smooth) > threshold)
        if stop - start >= WINDOW
    )


def rows_outside(blocks: tuple[RowBlock, ...], num_rows: int) -> npt.NDArray[np.bool_]:
    """Mask (num_rows,) of the rows in no block."""
    outside = np.ones(num_rows, dtype=np.bool_)
    for block in blocks:
        outside[block.start : block.stop] = False
    return outside


def _runs(marked: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First row of each run of marked rows, and the one after its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]
