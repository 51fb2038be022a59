"""The training of one subnet alone."""

import contextlib
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.sections import TrainingConfig
from ..errors import MosdeployError, StaleInputError
from ..locks import locked
from ..record import Record, parse
from ..records import SubnetCard, WeightOrigin
from ..run_folder.context import Progress
from ..run_folder.subnets import made_from_sha256, subnet_card
from ..run_folder.token_files import (
    read_tokens,
    remove_tokens,
    training_progress,
    validated_seldom,
    write_tokens,
)
from ..run_folder.trained_run import TrainedRun
from ..spaces.genes import ArchConfig
from ..storage import disk_errors, fingerprint, sha256_file, write_record
from ..workspace import LOG_NAME
from .begun_subnet import BEGUN, SUPERNET, begin, begun
from .subnet_teaching import Teaching, remedy

if TYPE_CHECKING:
    from ..training.distributed import DistributedContext
    from ..training.trainer import TrainingSummary


class _Start(Record):
    """What the first rank tells the others: whether all is done already; else the loss to start
    from.
    """

    finished: bool
    loss: float


@dataclass(frozen=True)
class SubnetTraining:
    """One subnet to train alone."""

    state: TrainedRun
    arch: ArchConfig
    weights: WeightOrigin
    config: TrainingConfig
    teaching: Teaching
    command: str = "mosdeploy finetune"

    @property
    def path(self) -> Path:
        """Of the subnet."""
        return self.state.files.subnet_path(self.arch.key, self.weights)

    @property
    def checkpoint_path(self) -> Path:
        """Of the state that a killed training resumes from."""
        return self.state.files.subnet_checkpoint_path(self.arch.key, self.weights)

    @property
    def supernet_sha256(self) -> str | None:
        """Of the supernet that the weights come from; None where they do not."""
        return self.state.card.supernet_sha256 if self.weights == "finetuned" else None

    @property
    def made_from_sha256(self) -> str | None:
        """Of what else it depends on, where its weights do not come from the supernet."""
        return made_from_sha256(self.state, self.weights)

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
            self.config.fingerprinted,
            *self.teaching.sha256,
            *(() if self.inherited_share == 1 else (self.inherited_share,)),
            *(() if self.made_from_sha256 is None else (self.made_from_sha256,)),
        )

    @property
    def inherited_share(self) -> float:
        """How much of the matrices is inherited, where any is."""
        return self.state.config.finetune.inherited_share if self.weights == "finetuned" else 1.0

    def run(self, distributed: "DistributedContext", progress: Progress) -> SubnetCard:
        """Train, unless that was done."""
        with ExitStack() as held:
            told = distributed.first(f"start {self.weights}", lambda: self._prepare(held, progress))
            start = parse(_Start, json.loads(told), "rank 0")
            if not start.finished:
                finish = self._train(start.loss, distributed, progress)
                distributed.first(f"trained {self.weights}", finish)
        return subnet_card(self.state, self.arch, self.weights)

    @property
    def _busy(self) -> MosdeployError:
        return MosdeployError(
            f"another `mosdeploy finetune` trains {self.path.parent}; wait for it, or stop it"
        )

    def _prepare(self, held: ExitStack, progress: Progress) -> str:
        """Hold the folder; leave there what all ranks read. The first rank's part."""
        from ..data.batches import ordered_batches
        from ..training.validation import validation_loss

        held.enter_context(locked(self.path, self._busy))
        state = self.state
        state.data  # noqa: B018  refuses a changed run file, before anything is begun
        card = self._kept()
        if card is not None:
            self._remove_leftovers(card)
        if card is not None and card.inputs_sha256 == self.inputs_sha256:
            progress.say("already trained from the same weights in the same way")
            return _Start(finished=True, loss=card.start_loss).model_dump_json()
        if self.weights == "finetuned":
            self._take_over_steps(state.files.finalist_checkpoint_path(self.arch.key))
        self._begin(progress)
        train_set = state.tokenized(state.training_examples)
        valid_set = state.tokenized(state.data.valid)
        write_tokens(self.path.parent, train_set, valid_set)
        loss = validation_loss(self.source(), ordered_batches(valid_set))
        share = self.inherited_share
        mixed = "" if share == 1 else f", with {share:g} of these weights and the rest fresh"
        progress.say(
            f"{self.weights} {self.arch.key}: {self.config.steps} steps from a validation loss of "
            f"{loss:.4f}{mixed}"
        )
        return _Start(finished=False, loss=loss).model_dump_json()

    def _begin(self, progress: Progress) -> None:
        others = {
            SUPERNET: self.supernet_sha256,
            "the start": self.made_from_sha256,
            "the teaching": " ".join(map(str, self.teaching.sha256)),
        }
        wanted = begun(self.state, self.config, self.inherited_share, others, self.command)
        begin(self.path, self.checkpoint_path, self.inputs_sha256, wanted, progress.say)

    def _take_over_steps(self, path: Path) -> None:
        """Go on from the state of the same training that a search or another `finetune` left."""
        from ..supernet.checkpoint import load_training_state

        files = self.state.files
        if self.checkpoint_path.exists() or not path.exists():
            return
        with contextlib.suppress(StaleInputError):
            if load_training_state(path).get("inputs_sha256") == self.inputs_sha256:
                # the log first; a kill may already have moved it, and not the state
                log_path = files.subnet_log_path(self.arch.key, self.weights)
                with disk_errors(self.path):
                    with contextlib.suppress(FileNotFoundError):
                        path.with_name(LOG_NAME).replace(log_path)
                    path.replace(self.checkpoint_path)

    def _remove_leftovers(self, card: SubnetCard) -> None:
        """Remove what a kill left at the very end of the training of a subnet that stands here: its
        state would block another training.
        """
        from ..supernet.checkpoint import load_training_state

        if not self.checkpoint_path.exists():
            self._remove_state()
        with contextlib.suppress(StaleInputError):
            state = load_training_state(self.checkpoint_path)
            if state.get("inputs_sha256") == card.inputs_sha256:
                self._remove_state()

    def _remove_state(self) -> None:
        self.checkpoint_path.unlink(missing_ok=True)
        self.path.with_name(BEGUN).unlink(missing_ok=True)
        remove_tokens(self.path.parent)

    def _train(
        self, start_loss: float, distributed: "DistributedContext", progress: Progress
    ) -> Callable[[], str]:
        """Train, with the other ranks; returns what is left to do for the first of them."""
        from ..supernet.checkpoint import save_subnet
        from ..training.trainer import TrainingJob, train

        subnet = self.start()
        batches, valid = read_tokens(self.path.parent, self.state.family, self.config)
        job = TrainingJob(
            config=validated_seldom(self.config, len(valid)),
            state_path=self.checkpoint_path,
            log_path=self.state.files.subnet_log_path(self.arch.key, self.weights),
            inputs_sha256=self.inputs_sha256,
            say=progress.say,
            distillation=self.teaching.distillation(self.state),
            remedy=remedy(self.weights),
        )
        show = training_progress("finetune", progress) if distributed.is_first else None
        summary = train(subnet, batches, valid, job, show, distributed)

        def finish() -> str:
            save_subnet(self.path, subnet)
            card_path = self.state.files.subnet_card_path(self.arch.key, self.weights)
            write_record(card_path, self._card(start_loss, summary))
            self._remove_state()
            return ""

        return finish

    def start(self) -> Any:
        """The network as the training starts."""
        from ..training.perturb import shrink_and_perturb

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

    def _kept(self) -> SubnetCard | None:
        """The card of the subnet that lies there, if it counts."""
        try:
            return subnet_card(self.state, self.arch, self.weights)
        except StaleInputError:
            return None

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
            made_from_sha256=self.made_from_sha256,
        )
