"""The teacher of a subnet that is trained alone: the largest subnet, trained alone before."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import StaleInputError
from ..records import SubnetCard, WeightOrigin
from ..run_folder.subnets import select_subnet, subnet_card
from ..run_folder.trained_run import TrainedRun
from ..spaces.genes import ArchConfig

if TYPE_CHECKING:
    from ..training.distillation import Distillation

LARGEST = "largest"


@dataclass(frozen=True)
class Teaching:
    """A teacher's card, and the share of the loss that its distributions have."""

    teacher: SubnetCard | None = None
    weight: float = 0.0

    @property
    def sha256(self) -> tuple[str | float, ...]:
        """What goes into the fingerprint of a training; nothing without a teacher."""
        return () if self.teacher is None else (self.teacher.subnet_sha256, self.weight)

    def distillation(self, state: TrainedRun) -> "Distillation | None":
        """Open the teacher's network."""
        from ..training.distillation import OutputDistillation

        if self.teacher is None:
            return None
        teacher = select_subnet(state, self.teacher.arch, "finetuned").subnet
        return OutputDistillation(teacher, self.weight)


def teaching(state: TrainedRun, arch: ArchConfig) -> Teaching:
    """Find the teacher that [finetune] asks for; the largest subnet itself has none."""
    config = state.config.finetune
    largest = state.arch(LARGEST)
    if config.teacher is None or arch == largest:
        return Teaching()
    try:
        teacher = subnet_card(state, largest, "finetuned")
    except StaleInputError as error:
        raise StaleInputError(
            f'[finetune] teacher = "{LARGEST}" is not trained alone yet ({error}); run `mosdeploy '
            f"finetune --pick {LARGEST}`"
        ) from error
    return Teaching(teacher, config.teacher_weight)


def remedy(weights: WeightOrigin) -> str:
    """What to do about a subnet's training that diverged: from scratch its rate has no share."""
    key = "training.learning_rate" if weights == "scratch" else "finetune.learning_rate_share"
    return f"lower {key}"
