"""The records that one command leaves for the next: frozen, versioned, without behaviour.

In and out: JSON. No record holds a path of the machine that wrote it, a secret or a tensor.
"""

from .bundle import (
    BundleManifest,
    Deployment,
    ParityReport,
    PrecisionCandidate,
    PrecisionChoice,
    Runtime,
    SelfTest,
)
from .latency import (
    BoardCalibration,
    DeviceState,
    LatencyContext,
    LatencyRecord,
    Measurement,
    PredictorCard,
    Problem,
    ReferenceTiming,
    RowBlock,
    SessionRecord,
    Timing,
    TransferTrial,
)
from .search import Candidate, Limits, QualityCard, SearchResult
from .training import (
    DataCard,
    DistilledCard,
    DryRun,
    Scores,
    ScoreTable,
    SubnetCard,
    SupernetCard,
    TrainingBudget,
    TrainingCost,
    TrainingLimits,
    WeightOrigin,
)

__all__ = [
    "BoardCalibration",
    "BundleManifest",
    "Candidate",
    "DataCard",
    "Deployment",
    "DeviceState",
    "DistilledCard",
    "DryRun",
    "LatencyContext",
    "LatencyRecord",
    "Limits",
    "Measurement",
    "ParityReport",
    "PrecisionCandidate",
    "PrecisionChoice",
    "PredictorCard",
    "Problem",
    "QualityCard",
    "ReferenceTiming",
    "RowBlock",
    "Runtime",
    "ScoreTable",
    "Scores",
    "SearchResult",
    "SelfTest",
    "SessionRecord",
    "SubnetCard",
    "SupernetCard",
    "Timing",
    "TrainingBudget",
    "TrainingCost",
    "TrainingLimits",
    "TransferTrial",
    "WeightOrigin",
]
