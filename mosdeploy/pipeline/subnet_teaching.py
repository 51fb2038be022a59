"""What one subnet that is trained alone learns from others: distilled examples, and a teacher's
distributions.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import StaleInputError
from ..records import SubnetCard, WeightOrigin
from ..run_folder.context import Progress
from ..run_folder.distilled import LARGEST, Distilled, check_has_teachers, check_teacher, distilled
from ..run_folder.subnets import select_subnet, subnet_card
from ..run_folder.trained_run import TrainedRun
from ..spaces.genes import ArchConfig

if TYPE_CHECKING:
    from ..training.distillation import Distillation


@dataclass(frozen=True)
class Teaching:
    """Where a subnet's examples come from, and by whose distributions it is taught."""

    source: Distilled
    teacher: SubnetCard | None = None
    weight: float = 0.0

    @property
    def sha256(self) -> tuple[str | float, ...]:
        """What goes into the fingerprint of a training; nothing without distillation."""
        taught = () if self.teacher is None else (self.teacher.subnet_sha256, self.weight)
        return (*self.source.sha256, *taught)

    def distillation(self, state: TrainedRun) -> "Distillation | None":
        """The teacher's network, for the training."""
        from ..training.distillation import OutputDistillation

        if self.teacher is None:
            return None
        teacher = select_subnet(state, self.teacher.arch, "finetuned").subnet
        return OutputDistillation(teacher, self.weight)


def teaching(state: TrainedRun, arch: ArchConfig, progress: Progress) -> Teaching:
    """What [finetune] wants a subnet to be taught by."""
    config = state.config.finetune
    which = config.data or state.config.training.data
    largest = state.arch(LARGEST)
    if arch == largest:
        return Teaching(_source_of_largest(state, progress))
    source = distilled(state.run, which)
    if source.card is not None:
        check_teacher(state.run, source.card)
    if config.teacher is None:
        return Teaching(source)
    check_has_teachers(state.run)
    try:
        teacher = subnet_card(state, largest, "finetuned")
    except StaleInputError as error:
        raise StaleInputError(
            f'[finetune] teacher = "{LARGEST}" is not trained alone yet ({error}); run `mosdeploy '
            f"finetune --pick {LARGEST}`"
        ) from error
    return Teaching(source, teacher, config.teacher_weight)


def _source_of_largest(state: TrainedRun, progress: Progress) -> Distilled:
    which = state.config.finetune.data or state.config.training.data
    exists = state.files.distilled_card_path.exists()
    source = distilled(state.run, which if exists else "original")
    if which == "original" or (source.card is not None and source.card.teacher != LARGEST):
        return source
    progress.say("the largest subnet is trained on the original examples: no other taught it")
    return Distilled()


def remedy(weights: WeightOrigin) -> str:
    """What to do about a subnet's training that diverged: from scratch its rate has no share."""
    key = "training.learning_rate" if weights == "scratch" else "finetune.learning_rate_share"
    return f"lower {key}"
