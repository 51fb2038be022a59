"""A small ensemble of neural networks, for what a mean or a simpler model leaves over."""

import warnings
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ..record import Record

FloatArray = npt.NDArray[np.float64]

HIDDEN_DIM = 32
MEMBERS = 3
MAX_ITERATIONS = 200

Finite = Annotated[float, Field(allow_inf_nan=False)]
Vector = tuple[Finite, ...]
Matrix = tuple[Vector, ...]


class Layer(Record):
    """One linear layer: weight (in, out) and bias (out,)."""

    weight: Matrix
    bias: Vector


class MlpEnsemble(Record):
    """Networks of equal shape over standardised features."""

    mean: Vector
    deviation: Vector
    output_scale: Finite
    members: tuple[tuple[Layer, ...], ...]

    def predict(self, features: npt.NDArray[Any]) -> FloatArray:
        """Correct a population."""
        inputs = (features - np.array(self.mean)) / np.array(self.deviation)
        outputs = []
        for layers in self.members:
            x = inputs
            for i, layer in enumerate(layers):
                x = x @ np.array(layer.weight) + np.array(layer.bias)
                # none behind the last layer: a residual may be negative
                if i < len(layers) - 1:
                    x = np.maximum(x, 0.0)
            outputs.append(x[:, 0])
        correction: FloatArray = np.mean(outputs, axis=0) * self.output_scale
        return correction


def fit_mlp(features: FloatArray, residual: FloatArray, *, weight_decay: float) -> MlpEnsemble:
    """Train the ensemble; the same data give the same weights."""
    # imported here, for it takes longer than most commands
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    mean = features.mean(axis=0)
    deviation = features.std(axis=0)
    # a feature that never varies standardises to zero; its mean may be off in the last digit
    deviation[deviation <= 1e-9 * np.abs(features).max(axis=0)] = 1.0
    # of unit deviation, so that the same weight decay suits residuals of any size
    scale = max(float(residual.std()), 1e-9)
    members = []
    for seed in range(MEMBERS):
        # lbfgs takes all samples at once, so that members differ by their first weights alone
        network = MLPRegressor(
            hidden_layer_sizes=(HIDDEN_DIM,),
            solver="lbfgs",
            alpha=weight_decay,
            max_iter=MAX_ITERATIONS,
            random_state=seed,
        )
        # stopping early is regularisation too
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            network.fit((features - mean) / deviation, residual / scale)
        members.append(
            tuple(
                Layer(weight=_matrix(weight), bias=tuple(bias.tolist()))
                for weight, bias in zip(network.coefs_, network.intercepts_, strict=True)
            )
        )
    return MlpEnsemble(
        mean=tuple(mean.tolist()),
        deviation=tuple(deviation.tolist()),
        output_scale=scale,
        members=tuple(members),
    )


def _matrix(array: FloatArray) -> Matrix:
    return tuple(tuple(row) for row in array.tolist())
