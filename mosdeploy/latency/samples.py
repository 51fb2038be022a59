"""Samples: what a fit takes of a dataset."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..spaces import ModelSpec
from ..spaces.genes import GeneArray


@dataclass(frozen=True)
class Samples:
    """What a fit takes of a dataset."""

    spec: ModelSpec
    genes: GeneArray
    latency_ms: npt.NDArray[np.float64]
    sample_weight: npt.NDArray[np.float64]
    runtime: str
