"""The verb after the search: train one subnet alone, from its inherited weights or from scratch."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.sections import FinetuneConfig, TrainingConfig
from ..errors import MosdeployError, StaleInputError
from ..record import Record, parse
from ..records import SubnetCard, WeightOrigin
from ..spaces.genes import ArchConfig
from ..storage import fingerprint, locked, sha256_file, write_record
from .run import Progress, Run
from .subnets import subnet_card
from .token_files import VALIDATION_TOKENS, forget_pieces, read_pieces, shown, write_pieces
from .train import TrainedRun, trained

if TYPE_CHECKING:
    from ..families.translation.network import Subnet
    from ..training.distributed import DistributedContext
    from ..training.trainer import TrainingSummary

CURVE_POINTS = 20
"""How often the validation loss is logged on the way."""


def finetune(
    run: Run, arch_name: str, steps: int | None, from_scratch: bool, progress: Progress
) -> SubnetCard:
    """Train one subnet alone, or go on where a killed run stopped; one that is finished is left as
    it is.

    Parameters
    ----------
    arch_name
        `winner`, `largest`, `smallest`, or a JSON file with an architecture.
    steps
        Updates; None takes those of [finetune], or from scratch as many as the supernet had.
    from_scratch
        Start from random weights instead of the inherited ones.

    Raises
    ------
    StaleInputError
        If the run is not trained, there is no winner of this supernet, or an unfinished run was for
        something else.
    MosdeployError
        If the same subnet is being trained already, the loss diverges or the disk is full.
    """
    from ..training.distributed import init_distributed

    state = trained(run)
    arch, weights = state.arch(arch_name), _weights(from_scratch)
    config = alone(run.config.training, run.config.finetune, steps, from_scratch)
    job = _Job(state, arch, weights, config, inputs_sha256=_made_from(state, arch, weights, config))
    with init_distributed(config) as ranks, ExitStack() as held:
        start = parse(
            _Start, json.loads(ranks.first("start", lambda: job.prepare(held, progress))), "rank 0"
        )
        if not start.finished:
            ranks.first("trained", job.train(start.loss, ranks, progress))
        return subnet_card(state, arch, weights)


def alone(
    training: TrainingConfig, finetune: FinetuneConfig, steps: int | None, from_scratch: bool
) -> TrainingConfig:
    """The training of one subnet: [training] with its own number of updates and its own learning
    rates.
    """
    updates = steps or (training.steps if from_scratch else finetune.steps)
    share = 1.0 if from_scratch else finetune.learning_rate_share
    return training.model_copy(
        update={
            "steps": updates,
            "learning_rate": training.learning_rate * share,
            "warmup_steps": updates // 10,
            "validate_every": max(1, updates // CURVE_POINTS),
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
    inputs_sha256: str

    @property
    def path(self) -> Path:
        return self.state.run.workspace.subnet_path(self.arch.key, self.weights)

    @property
    def checkpoint_path(self) -> Path:
        return self.state.run.workspace.subnet_checkpoint_path(self.arch.key, self.weights)

    def prepare(self, held: ExitStack, progress: Progress) -> str:
        """Hold the folder; leave there what all ranks read. The first rank's part."""
        from ..families.translation.dataset import ordered_batches, tokenize
        from ..families.translation.decoding import validation_loss
        from ..training.trainer import check_inputs

        busy = MosdeployError(
            f"another `mosdeploy finetune` trains {self.path.parent}; wait for it, or stop it"
        )
        held.enter_context(locked(self.path, busy))
        if (card := self._finished()) is not None:
            progress.say("already trained from the same weights in the same way")
            return _Start(finished=True, loss=card.start_loss).model_dump_json()
        check_inputs(self.checkpoint_path, self.inputs_sha256)
        corpus, max_tokens = self.state.corpus, self.state.run.config.corpus.max_tokens
        train, valid = (
            tokenize(self.state.tokenizer, pairs, max_tokens)
            for pairs in (corpus.train, corpus.valid)
        )
        write_pieces(self.path.parent, train, valid)
        loss = validation_loss(self._subnet(), ordered_batches(valid, VALIDATION_TOKENS))
        progress.say(
            f"{self.weights} {self.arch.key}: {self.config.steps} steps from a validation loss of {loss:.4f}"
        )
        return _Start(finished=False, loss=loss).model_dump_json()

    def train(
        self, start_loss: float, ranks: "DistributedContext", progress: Progress
    ) -> Callable[[], str]:
        """Train, together with the other ranks; what is then left to do, for the first of them, is
        given back.
        """
        from ..supernet.checkpoint import save_subnet
        from ..training.trainer import train

        subnet, (batches, valid) = self._subnet(), read_pieces(self.path.parent, self.config)
        log_path = self.state.run.workspace.subnet_log_path(self.arch.key, self.weights)
        show = shown("finetune", progress) if ranks.is_first else None
        summary = train(
            subnet,
            batches,
            valid,
            self.config,
            self.checkpoint_path,
            log_path,
            self.inputs_sha256,
            show,
            ranks,
        )

        def finish() -> str:
            save_subnet(self.path, subnet)
            write_record(
                self.state.run.workspace.subnet_card_path(self.arch.key, self.weights),
                self._card(start_loss, summary),
            )
            self.checkpoint_path.unlink()
            forget_pieces(self.path.parent)
            return ""

        return finish

    def _subnet(self) -> "Subnet":
        from ..training.trainer import fresh_subnet

        if self.weights == "finetuned":
            return self.state.subnet(self.arch)
        config, vocab_size = self.state.run.config, self.state.card.vocab_size
        return fresh_subnet(self.arch, config.space, vocab_size, config.supernet, self.config.seed)

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
            corpus_sha256=self.state.card.corpus_sha256,
            tokenizer_sha256=self.state.card.tokenizer_sha256,
            supernet_sha256=_supernet_sha256(self.state, self.weights),
            subnet_sha256=sha256_file(self.path),
            steps=summary.steps,
            start_loss=start_loss,
            loss=summary.losses["subnet_loss"],
            train_seconds=summary.train_seconds,
        )


def _made_from(
    state: TrainedRun, arch: ArchConfig, weights: WeightOrigin, config: TrainingConfig
) -> str:
    card, supernet = state.card, state.run.config.supernet
    return fingerprint(
        card.corpus_sha256,
        card.tokenizer_sha256,
        _supernet_sha256(state, weights),
        arch,
        supernet,
        config,
    )


def _supernet_sha256(state: TrainedRun, weights: WeightOrigin) -> str | None:
    return None if weights == "scratch" else state.card.supernet_sha256


def _weights(from_scratch: bool) -> WeightOrigin:
    return "scratch" if from_scratch else "finetuned"
