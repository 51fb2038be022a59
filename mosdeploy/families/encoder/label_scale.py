"""The scale of a regression's labels, between a head that learns numbers around 0 and its
answers.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ...export.onnx.initializers import Array

SCALE = "head.scale"
"""Of a subnet's weights: center and spread of the labels, (2,). Heads of other tasks have none."""


def center_and_spread(labels: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation of labels (N,); no labels have 0 and 1, and equal ones 1."""
    if not len(labels):
        return 0.0, 1.0
    # equal ones need not have a standard deviation of 0: three of 0.1 have one of 1.4e-17
    spread = float(labels.std()) if labels.min() < labels.max() else 1.0
    return float(labels.mean()), spread


def folded(weights: Mapping[str, Array]) -> Mapping[str, Array]:
    """The same function without a scale, which the output layer takes in."""
    if SCALE not in weights:
        return weights
    center, spread = weights[SCALE]
    return {name: x for name, x in weights.items() if name != SCALE} | {
        "head.out.weight": weights["head.out.weight"] * spread,
        "head.out.bias": weights["head.out.bias"] * spread + center,
    }
