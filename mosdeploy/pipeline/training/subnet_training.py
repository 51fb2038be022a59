"""The training of one subnet alone."""

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, JsonValue

from ...config.sections import TrainingConfig
from ...errors import StaleInputError
from ...record import Record, parse
from ...records import SubnetCard, WeightOrigin
from ...run_folder.artifact import DIGEST, Artifact, Making, digest, settings
from ...run_folder.context import Progress
from ...run_folder.subnets import select_subnet, subnet_artifact, subnet_card
from ...run_folder.trained_run import TrainedRun
from ...spaces.genes import ArchConfig
from ...storage import readable_record, sha256_file, write_record
from ...workspace import CHECKPOINT_NAME, LOG_NAME, SUBNET_CARD_NAME, SUBNET_NAME
from .prepare import (
    read_tokens,
    remove_tokens,
    training_progress,
    validated_seldom,
    write_tokens,
)

if TYPE_CHECKING:
    from ...training.distributed import DistributedContext
    from ...training.gradient import Distillation


LARGEST = "largest"
TRIED_NAME = "tried.json"


def teacher_card(state: TrainedRun, arch: ArchConfig) -> SubnetCard | None:
    """Find the teacher that [finetune] asks for; the largest subnet itself has none."""
    config = state.config.finetune
    largest = state.arch(LARGEST)
    if config.teacher is None or arch == largest:
        return None
    try:
        return subnet_card(state, largest, "finetuned")
    except StaleInputError as error:
        raise StaleInputError(
            f'[finetune] teacher = "{LARGEST}" is not trained alone yet ({error}); run `mosdeploy '
            f"finetune --pick {LARGEST}`"
        ) from error


class TriedTrainings(Record):
    """tried.json: the validation loss of trainings that came to no better weights, by digest."""

    version: Literal[1] = 1
    losses: dict[str, float] = Field(default_factory=dict)


class _Start(Record):
    """What the first rank tells the others: where to train, from which inputs and loss."""

    folder: str
    inputs: dict[str, JsonValue]
    is_done: bool
    loss: float = 0.0


@dataclass(frozen=True)
class SubnetTraining:
    """One subnet to train alone."""

    state: TrainedRun
    arch: ArchConfig
    weights: WeightOrigin
    config: TrainingConfig
    teacher: SubnetCard | None
    command: str = "mosdeploy finetune"

    @property
    def artifact(self) -> Artifact:
        """The subnet in the run folder."""
        folder = self.state.files.subnet_path(self.arch.key, self.weights).parent
        return subnet_artifact(lambda: self.state, folder, self.weights)

    @property
    def settings(self) -> dict[str, JsonValue]:
        """What the result depends on besides what it starts from."""
        found = {
            **settings(self.state.config.supernet, "supernet"),
            **settings(self.config.fingerprinted, "training"),
            "finetune.inherited_share": self.inherited_share,
        }
        if self.teacher is not None:
            found["teacher of the subnet"] = f"{DIGEST}{self.teacher.subnet_sha256}"
        return found

    @property
    def inherited_share(self) -> float:
        """How much of the matrices is inherited, where any is."""
        return self.state.config.finetune.inherited_share if self.weights == "finetuned" else 1.0

    def run(self, distributed: "DistributedContext", progress: Progress) -> SubnetCard:
        """Train, unless that was done."""
        with ExitStack() as held:
            told = distributed.first(f"start {self.weights}", lambda: self._prepare(held, progress))
            start = parse(_Start, json.loads(told), "rank 0")
            if not start.is_done:
                finish = self._train(start, distributed, progress)
                distributed.first(f"trained {self.weights}", finish)
        # the new subnet has taken its place here, on the first rank
        distributed.first(f"placed {self.weights}", lambda: "")
        return subnet_card(self.state, self.arch, self.weights)

    def _prepare(self, held: ExitStack, progress: Progress) -> str:
        """Hold the folder; leave there what all ranks read. The first rank's part."""
        from ...data.batches import ordered_batches
        from ...training.trainer import validation_loss

        state = self.state
        state.data  # noqa: B018  refuses a changed run file, before anything is begun
        if (told := self._told_tried(progress)) is not None:
            return told
        making: Making = held.enter_context(self.artifact.make(self.command, self.settings))
        start = _Start(folder=str(making.folder), inputs=making.inputs, is_done=making.is_done)
        if making.is_done:
            progress.say("already trained from the same weights in the same way")
            return start.model_dump_json()
        train_set = state.tokenized(state.training_examples)
        valid_set = state.training_validation_set()
        write_tokens(making.folder, train_set, valid_set)
        loss = validation_loss(self.source(), ordered_batches(valid_set))
        share = self.inherited_share
        mixed = "" if share == 1 else f", with {share:g} of these weights and the rest fresh"
        progress.say(
            f"{self.weights} {self.arch.key}: {self.config.steps} steps from a validation loss of "
            f"{loss:.4f}{mixed}"
        )
        return start.model_copy(update={"loss": loss}).model_dump_json()

    def _told_tried(self, progress: Progress) -> str | None:
        """Say what stands here; what to tell the other ranks if this training came to no better."""
        kept = self._kept()
        wanted = {**self.artifact.inputs(), **self.settings}
        if kept is None or kept.inputs == wanted:
            return None
        stands = f"weights of {kept.steps} steps with a validation loss of {kept.loss:.4f}"
        loss = self._tried().losses.get(digest(wanted))
        if loss is None:
            progress.say(f"{stands} stand here: they stay unless the new ones come to a lower one")
            return None
        progress.say(f"already trained so, to {loss:.4f}: {stands} stay")
        folder = self.artifact.folder
        shutil.rmtree(self.artifact.new_folder, ignore_errors=True)  # of a kill at its very end
        return _Start(folder=str(folder), inputs=wanted, is_done=True).model_dump_json()

    def _distillation(self) -> "Distillation | None":
        """Open the teacher's network."""
        from ...training.gradient import Distillation

        if self.teacher is None:
            return None
        return Distillation(select_subnet(self.state, self.teacher.arch, "finetuned").subnet)

    def _kept(self) -> SubnetCard | None:
        """The card of the subnet that stands here, if it counts."""
        try:
            return subnet_card(self.state, self.arch, self.weights)
        except StaleInputError:
            return None

    def _tried(self) -> TriedTrainings:
        path = self.artifact.folder / TRIED_NAME
        return readable_record(TriedTrainings, path) or TriedTrainings()

    def _train(
        self, start: _Start, distributed: "DistributedContext", progress: Progress
    ) -> Callable[[], str]:
        """Train, with the other ranks; returns what is left to do for the first of them."""
        from ...supernet.checkpoint import save_subnet
        from ...training.trainer import TrainingJob, train

        subnet = self.start()
        folder = Path(start.folder)
        batches, valid = read_tokens(folder, self.state.family, self.config)
        job = TrainingJob(
            config=validated_seldom(self.config, len(valid)),
            state_path=folder / CHECKPOINT_NAME,
            log_path=folder / LOG_NAME,
            inputs_sha256=digest(start.inputs),
            say=progress.say,
            distillation=self._distillation(),
            remedy="lower training.learning_rate",
        )
        show = training_progress("finetune", progress) if distributed.is_first else None
        summary = train(subnet, batches, valid, job, show, distributed)

        def finish() -> str:
            loss = summary.losses["subnet_loss"]
            losses = self._tried().losses
            kept = self._kept()
            if kept is not None and kept.loss <= loss:
                losses = {**losses, digest(start.inputs): loss}
                write_record(self.artifact.folder / TRIED_NAME, TriedTrainings(losses=losses))
                shutil.rmtree(folder)
                progress.say(
                    f"the new weights came to {loss:.4f}: those of {kept.steps} steps, with "
                    f"{kept.loss:.4f}, stay; delete {self.artifact.folder} to train without them"
                )
                return ""
            if kept is not None:
                losses = {**losses, digest(kept.inputs): kept.loss}
                write_record(folder / TRIED_NAME, TriedTrainings(losses=losses))
            path = folder / SUBNET_NAME
            save_subnet(path, subnet)
            card = SubnetCard(
                inputs=start.inputs,
                arch=self.arch,
                weights=self.weights,
                subnet_sha256=sha256_file(path),
                steps=job.config.steps,
                start_loss=start.loss,
                loss=loss,
                train_seconds=summary.train_seconds,
            )
            write_record(folder / SUBNET_CARD_NAME, card)
            job.state_path.unlink(missing_ok=True)
            remove_tokens(folder)
            return ""

        return finish

    def start(self) -> Any:
        """The network as the training starts."""
        from ...training.trainer import shrink_and_perturb

        subnet = self.source()
        if self.inherited_share != 1:
            shrink_and_perturb(subnet, self._fresh(), self.inherited_share)
        return subnet

    def source(self) -> Any:
        """The network that the weights come from."""
        if self.weights == "finetuned":
            return self.state.subnet(self.arch)
        if self.weights == "from-teacher":
            assert self.state.teacher is not None  # else there is no such start
            return self.state.teacher.subnet(self.arch)
        return self._fresh()

    def _fresh(self) -> Any:
        config = self.state.config
        subnet = self.state.family.fresh_subnet(
            self.arch, config.space, self.state.card.vocab_size, config.supernet, self.config.seed
        )
        # what no training changes was set for the supernet's data
        fixed = dict(self.state.subnet(self.arch).named_buffers())
        subnet.load_state_dict(fixed, strict=False)
        return subnet
