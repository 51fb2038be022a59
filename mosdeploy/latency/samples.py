"""Samples: what a fit takes of a dataset."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..spaces import ModelSpec
from ..spaces.genes import GeneArray


@dataclass(frozen=True)
class Samples:
    """What a fit takes of a dataset.

    Attributes
    ----------
    spec
        The model whose subnets were measured.
    genes
        Gene rows (N, num_genes).
    latency_ms
        Shape (N,): medians of the whole run, divided by the `time_ratio` of the board that
        measured and of the session in which it did.
    sample_weight
        Shape (N,), in (0, 1]: 1 where the time of the reference did not change around a
        measurement, a half where it changed by as much as the protocol allows, less where it
        changed more. A subnet drifts as its reference does, so the drift is a second source of
        error beside the protocol's, and variances add.
    runtime
        What measured.
    """

    spec: ModelSpec
    genes: GeneArray
    latency_ms: npt.NDArray[np.float64]
    sample_weight: npt.NDArray[np.float64]
    runtime: str
