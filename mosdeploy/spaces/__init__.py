"""What an architecture, a search space and a workload of each family are, and what they cost.

`AnyArch`, `AnySpace` and `AnyWorkload` are what a record may hold: unions over the families, told
apart by their field `family`, which translation, the first one, goes without. Rooms name
`ArchConfig`, `SearchSpace` and `ModelSpec`.
"""

from .genes import ArchConfig, SearchSpace
from .spec import ModelSpec, Precision, TimingStage, Workload
from .translation import TranslationArch, TranslationSpace, TranslationWorkload

AnyArch = TranslationArch
AnySpace = TranslationSpace
AnyWorkload = TranslationWorkload

__all__ = [
    "AnyArch",
    "AnySpace",
    "AnyWorkload",
    "ArchConfig",
    "ModelSpec",
    "Precision",
    "SearchSpace",
    "TimingStage",
    "Workload",
]
