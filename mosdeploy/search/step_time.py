"""How long a training step of an architecture takes, from a few that were timed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from ..spaces.genes import ArchConfig
from ..spaces.spec import ModelSpec

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class StepTime:
    """The time of a step as a sum of non-negative parts: one that all have, one by parameters, one
    by layers.
    """

    spec: ModelSpec
    coefficients: FloatArray

    @classmethod
    def fit(
        cls, spec: ModelSpec, archs: Sequence[ArchConfig], times: Sequence[float]
    ) -> "StepTime":
        """Fit to times, all above 0, by least squares of relative errors."""
        relative = _terms(spec, archs) / np.array(times)[:, None]
        return cls(spec, nnls(relative, np.ones(len(times)))[0])

    def __call__(self, arch: ArchConfig) -> float:
        """Time of a step, in the unit of those that it was fitted to."""
        return float(_terms(self.spec, [arch])[0] @ self.coefficients)


def _terms(spec: ModelSpec, archs: Sequence[ArchConfig]) -> FloatArray:
    terms = [(1, spec.num_parameters(x) / 1e6, sum(spec.space.depths(x))) for x in archs]
    return np.array(terms, np.float64)
