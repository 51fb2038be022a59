"""What the finalists of a search come to when each is trained alone for a few steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import StaleInputError
from ..folders import listed
from ..record import Record
from ..records import Candidate
from ..run_folder.artifact import digest
from ..run_folder.context import Progress
from ..run_folder.trained_run import TrainedRun
from ..spaces.genes import ArchConfig
from ..storage import disk_errors, readable_record, write_record
from ..workspace import CHECKPOINT_NAME, LOG_NAME
from .finetune import FinetuneOptions, alone
from .same_time import own_steps
from .training.subnet_training import SubnetTraining, remedy, teaching
from .training.token_files import training_progress

if TYPE_CHECKING:
    from ..data.batches import Dataset


class FinalistLoss(Record):
    """Validation loss of a finalist after so many steps, in nats a target."""

    inputs_sha256: str
    steps: int
    loss: float


@dataclass(frozen=True)
class FinalistTraining:
    """The first steps of the finetuning of some architectures."""

    state: TrainedRun
    steps: int
    progress: Progress

    def losses(self, archs: Sequence[ArchConfig]) -> list[float]:
        """Train those that were not trained yet; the losses of all."""
        return [self._loss(arch, f"finalist {i}/{len(archs)}") for i, arch in enumerate(archs, 1)]

    def best_of(self, candidates: Sequence[Candidate]) -> Candidate:
        """The candidate of lowest loss after these steps; a single one is not trained."""
        if len(candidates) == 1:
            return candidates[0]
        losses = self.losses([candidate.arch for candidate in candidates])
        loss, _, i = min((losses[i], x.loss, i) for i, x in enumerate(candidates))
        return candidates[i].model_copy(update={"trained_loss": loss})

    def keep_only(self, arch: ArchConfig) -> None:
        """Remove the training states of all others."""
        for path in listed(self.state.files.finalists_dir, f"*/{CHECKPOINT_NAME}"):
            if path.parent.name != arch.key:
                with disk_errors(path):
                    # a `finetune` that runs beside may have taken them over
                    path.unlink(missing_ok=True)
                    path.with_name(LOG_NAME).unlink(missing_ok=True)

    @cached_property
    def _dataset(self) -> "tuple[Dataset, Dataset]":
        """Training and validation examples, tokenized once."""
        state = self.state
        return state.tokenized(state.training_examples), state.tokenized(state.data.valid)

    def _remove_other(self, path: Path, inputs_sha256: str, steps: int) -> None:
        """Remove a state that cannot be gone on from: of another training, or of as many steps or
        more, whose loss is not known to be that of the last of them.
        """
        from ..supernet.checkpoint import load_training_state

        if not path.exists():
            return
        try:
            state = load_training_state(path)
            if state.get("inputs_sha256") == inputs_sha256 and state["step"] < steps:
                return
        except StaleInputError as error:
            if isinstance(error.__cause__, OSError):  # it may be whole
                raise
        with disk_errors(path):
            path.unlink()

    def _loss(self, arch: ArchConfig, stage: str) -> float:
        from ..data.batches import Batches, ordered_batches
        from ..training.trainer import TrainingJob, train

        state = self.state
        own_total = own_steps(state, arch, self.progress)
        own = state.config.finetune.model_copy(update={"steps": own_total})
        # the same part of all steps, and of a schedule
        steps = max(1, round(self.steps * own_total / state.config.finetune.steps))
        config = alone(state.config.training, own, FinetuneOptions())
        taught = teaching(state, arch)
        training = SubnetTraining(state, arch, "finetuned", config, taught)
        inputs_sha256 = digest({**training.artifact.inputs(), **training.settings})
        path = state.files.finalist_checkpoint_path(arch.key)
        card_path = path.with_name("loss.json")
        card = readable_record(FinalistLoss, card_path)
        if card and (card.inputs_sha256, card.steps) == (inputs_sha256, steps):
            return card.loss
        self._remove_other(path, inputs_sha256, steps)
        train_set, valid_set = self._dataset
        job = TrainingJob(
            # the schedule of the whole training, of which these are the first steps; TensorBoard's
            # events could not be moved to where `finetune` goes on
            config=config.model_copy(update={"validate_every": config.steps, "log": "jsonl"}),
            state_path=path,
            log_path=path.with_name(LOG_NAME),
            inputs_sha256=inputs_sha256,
            distillation=taught.distillation(state),
            remedy=remedy(training.weights),
            until=steps,
        )
        summary = train(
            training.start(),
            Batches(train_set, config.tokens_per_batch, config.seed),
            ordered_batches(valid_set),
            job,
            training_progress(stage, self.progress),
        )
        loss = summary.losses["subnet_loss"]
        write_record(card_path, FinalistLoss(inputs_sha256=inputs_sha256, steps=steps, loss=loss))
        return loss
