"""What an architecture, a search space and a workload of each family are, and what they cost.

`AnyArch`, `AnySpace` and `AnyWorkload` are what a record may hold: unions over the families, told
apart by their field `family`, which translation, the first one, goes without. To a type checker
they are the neutral base types, so that no room can name a field of one family.
"""

from typing import TYPE_CHECKING

from .encoder import EncoderSpace
from .encoder_choices import EncoderArch
from .encoder_workload import EncoderWorkload
from .genes import ArchConfig, SearchSpace
from .spec import CostedSpace, ModelSpec, Precision, TimingStage, Workload
from .translation import TranslationSpace
from .translation_arch import TranslationArch
from .translation_workload import TranslationWorkload

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
