"""What an architecture, a search space and a workload of each family are, and what they cost."""

from typing import TYPE_CHECKING

from .encoder import EncoderArch, EncoderSpace, EncoderWorkload
from .genes import ArchConfig, SearchSpace
from .spec import CostedSpace, ModelSpec, Precision, TimingStage, Workload
from .translation import TranslationArch, TranslationSpace, TranslationWorkload

if TYPE_CHECKING:
    AnyArch = ArchConfig
    AnySpace = CostedSpace
    AnyWorkload = Workload
else:
    AnyArch = TranslationArch | EncoderArch
    AnySpace = TranslationSpace | EncoderSpace
    AnyWorkload = TranslationWorkload | EncoderWorkload

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
