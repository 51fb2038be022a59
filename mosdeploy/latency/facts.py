"""Where the samples of a fit come from, as the predictor's card tells it."""

from dataclasses import dataclass

from ..records import BoardCalibration, RowBlock, SessionCalibration
from .dataset import LatencyDataset


@dataclass(frozen=True)
class FitFacts:
    """What a predictor's card says of the samples.

    Attributes
    ----------
    device, runtime
        What measured them.
    left_out
        Blocks of rows that the caller found and left out beforehand.
    boards
        Boards of a fleet by whose `time_ratio` the latencies were divided.
    rescaled_sessions
        Older sessions, likewise.
    dataset_sha256
        Fingerprint of the dataset or file.
    source, licence
        Of published data: where they are from and what they may be used for.
    """

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
