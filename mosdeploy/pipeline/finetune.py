"""The verb `finetune`: train one subnet alone, from its inherited weights, from its part of the
teacher, or from scratch.
"""

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.sections import FinetuneConfig, TrainingConfig
from ..errors import ConfigError, MosdeployError, StaleInputError
from ..record import Record, parse
from ..records import SubnetCard, WeightOrigin
from ..spaces.genes import ArchConfig
from ..storage import fingerprint, locked, sha256_file, write_record
from .context import Context, Progress
from .subnets import STARTS, subnet_card
from .teaching import Teaching, teaching
from .token_files import (
    VALIDATION_TOKENS,
    read_tokens,
    remove_tokens,
    training_progress,
    write_tokens,
)
from .trained_run import TrainedRun, trained_run

if TYPE_CHECKING:
    from ..training.distributed import DistributedContext
    from ..training.trainer import TrainingSummary

CURVE_POINTS = 20
"""How often the validation loss is logged on the way."""


@dataclass(frozen=True)
class FinetuneOptions:
    """What `finetune` trains.

    Attributes
    ----------
    arch
        `winner`, `largest`, `smallest`, or a JSON file with an architecture.
    steps
        None takes those of the budget that the supernet was trained with, else of [finetune]; from
        scratch those of the supernet on top, which finetuning had as well.
    from_scratch
        Start from random weights instead of the inherited ones.
    from_teacher
        Start from the teacher's weights alone, for families that have one.
    """

    arch: str = "winner"
    steps: int | None = None
    from_scratch: bool = False
    from_teacher: bool = False

    def starts(self, has_teacher: bool) -> tuple[WeightOrigin, ...]:
        """What the results are called: with a teacher both starts are tried, and the better one
        is kept.

        Raises
        ------
        ConfigError
            If a teacher is asked for and there is none.
        """
        if self.from_scratch:
            return ("scratch",)
        if self.from_teacher and not has_teacher:
            raise ConfigError("this family learns from its data alone; there is no teacher")
        if self.from_teacher:
            return ("from-teacher",)
        return ("finetuned", "from-teacher") if has_teacher else ("finetuned",)


def finetune(context: Context, options: FinetuneOptions | None = None) -> SubnetCard:
    """Train one subnet alone, or go on where a killed run stopped; a finished one is left as it is.

    Raises
    ------
    StaleInputError
        If the run is not trained, there is no winner of this supernet, an unfinished run was for
        something else, or a teacher is not trained or its examples are missing.
    MosdeployError
        If the same subnet is being trained already, the loss diverges or the disk is full.
    """
    from ..training.distributed import init_distributed

    with init_distributed(context.config.training) as distributed:
        return finetune_together(context, options or FinetuneOptions(), distributed)


def finetune_together(
    context: Context, options: FinetuneOptions, distributed: "DistributedContext"
) -> SubnetCard:
    """`finetune` with the other ranks, for whoever has them do something else too."""
    state = trained_run(context.run)
    arch = state.arch(options.arch)
    config = alone(state.config.training, state.config.finetune, options)
    taught = teaching(state, arch, context.progress)
    cards = []
    for weights in options.starts(state.teacher is not None):
        job = _Job(state, arch, weights, config, taught)
        with ExitStack() as held:
            job.run(held, distributed, context.progress)
        cards.append(subnet_card(state, arch, weights))
    for card in cards if len(cards) > 1 else ():
        context.progress.say(
            f"from {STARTS[card.weights]}: validation loss {card.start_loss:.4f} to {card.loss:.4f}"
        )
    return min(cards, key=lambda card: card.loss)


def alone(
    training: TrainingConfig, finetune: FinetuneConfig, options: FinetuneOptions
) -> TrainingConfig:
    """The training of one subnet: [training] with its own number of steps and learning rates."""
    usual = finetune.steps + (training.steps if options.from_scratch else 0)
    steps = options.steps or usual
    share = 1.0 if options.from_scratch else finetune.learning_rate_share
    return training.unlimited.model_copy(
        update={
            "steps": steps,
            "learning_rate": training.learning_rate * share,
            "warmup_steps": steps // 10,
            "validate_every": max(1, steps // CURVE_POINTS),
            # which examples are read is part of the teaching, not of the schedule
            "data": "original",
        }
    )


class _Start(Record):
    """What the first rank tells the others: whether all is done already; else the loss to start
    from.
    """

    finished: bool
    loss: float


@dataclass(frozen=True)
class _Job:
    """One subnet to train alone."""

    state: TrainedRun
    arch: ArchConfig
    weights: WeightOrigin
    config: TrainingConfig
    teaching: Teaching

    @property
    def path(self) -> Path:
        return self.state.files.subnet_path(self.arch.key, self.weights)

    @property
    def checkpoint_path(self) -> Path:
        return self.state.files.subnet_checkpoint_path(self.arch.key, self.weights)

    @property
    def supernet_sha256(self) -> str | None:
        """Of the supernet that the weights come from; None where they do not."""
        return self.state.card.supernet_sha256 if self.weights == "finetuned" else None

    @property
    def inputs_sha256(self) -> str:
        """Fingerprint of all that the result depends on."""
        card = self.state.card
        return fingerprint(
            card.data_sha256,
            card.tokenizer_sha256,
            self.supernet_sha256,
            self.arch,
            self.state.config.supernet,
            self.config,
            *self.teaching.sha256,
        )

    def run(self, held: ExitStack, distributed: "DistributedContext", progress: Progress) -> None:
        """Train, unless that was done."""
        told = distributed.first(f"start {self.weights}", lambda: self.prepare(held, progress))
        start = parse(_Start, json.loads(told), "rank 0")
        if not start.finished:
            finish = self.train(start.loss, distributed, progress)
            distributed.first(f"trained {self.weights}", finish)

    def prepare(self, held: ExitStack, progress: Progress) -> str:
        """Hold the folder; leave there what all ranks read. The first rank's part."""
        from ..data.batches import ordered_batches
        from ..training.trainer import check_inputs
        from ..training.validation import validation_loss

        busy = MosdeployError(
            f"another `mosdeploy finetune` trains {self.path.parent}; wait for it, or stop it"
        )
        held.enter_context(locked(self.path, busy))
        if (card := self._finished()) is not None:
            progress.say("already trained from the same weights in the same way")
            return _Start(finished=True, loss=card.start_loss).model_dump_json()
        check_inputs(self.checkpoint_path, self.inputs_sha256)
        state = self.state
        data = state.data
        train_set = state.tokenized(self.teaching.source.examples(state.run, data))
        valid_set = state.tokenized(data.valid)
        write_tokens(self.path.parent, train_set, valid_set)
        loss = validation_loss(self._subnet(), ordered_batches(valid_set, VALIDATION_TOKENS))
        progress.say(
            f"{self.weights} {self.arch.key}: {self.config.steps} steps from a validation loss of "
            f"{loss:.4f}"
        )
        return _Start(finished=False, loss=loss).model_dump_json()

    def train(
        self, start_loss: float, distributed: "DistributedContext", progress: Progress
    ) -> Callable[[], str]:
        """Train, with the other ranks; returns what is left to do for the first of them."""
        from ..supernet.checkpoint import save_subnet
        from ..training.trainer import TrainingJob, train

        files = self.state.files
        subnet = self._subnet()
        batches, valid = read_tokens(self.path.parent, self.state.family, self.config)
        job = TrainingJob(
            config=self.config,
            state_path=self.checkpoint_path,
            log_path=files.subnet_log_path(self.arch.key, self.weights),
            inputs_sha256=self.inputs_sha256,
            say=progress.say,
            distillation=self.teaching.distillation(self.state),
        )
        show = training_progress("finetune", progress) if distributed.is_first else None
        summary = train(subnet, batches, valid, job, show, distributed)

        def finish() -> str:
            save_subnet(self.path, subnet)
            card_path = files.subnet_card_path(self.arch.key, self.weights)
            write_record(card_path, self._card(start_loss, summary))
            self.checkpoint_path.unlink()
            remove_tokens(self.path.parent)
            return ""

        return finish

    def _subnet(self) -> Any:
        if self.weights == "finetuned":
            return self.state.subnet(self.arch)
        if self.weights == "from-teacher":
            assert self.state.teacher is not None  # else there is no such start
            return self.state.teacher.subnet(self.arch)
        config = self.state.config
        return self.state.family.fresh_subnet(
            self.arch, config.space, self.state.card.vocab_size, config.supernet, self.config.seed
        )

    def _finished(self) -> SubnetCard | None:
        try:
            card = subnet_card(self.state, self.arch, self.weights)
        except StaleInputError:
            return None
        return card if card.inputs_sha256 == self.inputs_sha256 else None

    def _card(self, start_loss: float, summary: "TrainingSummary") -> SubnetCard:
        return SubnetCard(
            inputs_sha256=self.inputs_sha256,
            arch=self.arch,
            weights=self.weights,
            data_sha256=self.state.card.data_sha256,
            tokenizer_sha256=self.state.card.tokenizer_sha256,
            supernet_sha256=self.supernet_sha256,
            subnet_sha256=sha256_file(self.path),
            steps=summary.steps,
            start_loss=start_loss,
            loss=summary.losses["subnet_loss"],
            train_seconds=summary.train_seconds,
        )
