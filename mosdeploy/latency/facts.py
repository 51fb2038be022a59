"""Where the samples of a fit come from, as the predictor's card tells it."""

from dataclasses import dataclass

from ..records import BoardCalibration, RowBlock, SessionCalibration
from .dataset import LatencyDataset


@dataclass(frozen=True)
class FitFacts:
    """What a predictor's card says of the samples."""

    device: str
    runtime: str = ""
    left_out: tuple[RowBlock, ...] = ()
    boards: tuple[BoardCalibration, ...] = ()
    rescaled_sessions: tuple[SessionCalibration, ...] = ()
    dataset_sha256: str = ""
    source: str = ""
    licence: str = ""

    @classmethod
    def of(cls, dataset: LatencyDataset, runtime: str) -> "FitFacts":
        """Those of a dataset, all of which one runtime measured."""
        return cls(
            device=dataset.context.device.name,
            runtime=runtime,
            boards=dataset.boards,
            rescaled_sessions=dataset.rescaled_sessions,
            dataset_sha256=dataset.sha256,
        )
