"""The verb after the search: train one subnet alone, from its inherited weights or from scratch."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..config import FinetuneConfig, TrainingConfig
from ..errors import MosdeployError, StaleInputError
from ..records import SubnetCard, Weights
from ..space import ArchConfig
from ..workspace import fingerprint, locked, sha256_file, write_record
from .run import Progress, Run
from .training import Trained, trained
from .weights import subnet_card

if TYPE_CHECKING:
    from ..supernet import Subnet

CURVE_POINTS = 20
"""How often the validation loss is logged on the way."""


def finetune(run: Run, arch_name: str, steps: int | None, from_scratch: bool, progress: Progress) -> SubnetCard:
    """Train one subnet alone, or go on where a killed run stopped; one that is finished is left as it is.

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
        If the run is not trained, there is no winner of this supernet, or an unfinished run was for something else.
    MosdeployError
        If the same subnet is being trained already, the loss diverges or the disk is full.
    """
    state = trained(run)
    arch, weights = state.arch(arch_name), _weights(from_scratch)
    config = alone(run.config.training, run.config.finetune, steps, from_scratch)
    path = run.workspace.subnet_path(arch.key, weights)
    busy = MosdeployError(f"another `mosdeploy finetune` trains {path.parent}; wait for it, or stop it")
    with locked(path, busy):
        return _finetune(state, arch, weights, config, progress)


def alone(training: TrainingConfig, finetune: FinetuneConfig, steps: int | None, from_scratch: bool) -> TrainingConfig:
    """The training of one subnet: [training] with its own number of updates and its own learning rates."""
    updates = steps or (training.updates if from_scratch else finetune.steps)
    share = 1.0 if from_scratch else finetune.learning_rate_share
    return training.model_copy(
        update={
            "updates": updates,
            "learning_rate": training.learning_rate * share,
            "warmup_updates": updates // 10,
            "validate_every": max(1, updates // CURVE_POINTS),
        }
    )


def _finetune(
    state: Trained, arch: ArchConfig, weights: Weights, config: TrainingConfig, progress: Progress
) -> SubnetCard:
    from ..supernet import save_subnet
    from ..training.batches import Batches, tokenize
    from ..training.evaluate import validation_loss
    from ..training.trainer import check_made_from
    from ..training.trainer import train as train_network

    files, corpus = state.run.workspace, state.corpus
    made_from = fingerprint(
        corpus.sha256,
        state.card.tokenizer_sha256,
        _supernet_sha256(state, weights),
        arch,
        state.run.config.supernet,
        config,
    )
    if (card := _finished(state, arch, weights, made_from)) is not None:
        progress.say("already trained from the same weights in the same way")
        return card
    checkpoint_path = files.subnet_checkpoint_path(arch.key, weights)
    check_made_from(checkpoint_path, made_from)
    subnet = _start(state, arch, weights, config)
    valid = state.valid_batches(len(corpus.valid))
    start_loss = validation_loss(subnet, valid)
    pairs = tokenize(state.tokenizer, corpus.train, state.run.config.corpus.max_pieces)
    progress.say(f"{weights}: {arch.key}, {config.updates} steps from a validation loss of {start_loss:.4f}")
    batches = Batches(pairs, config.tokens_per_batch, config.seed)
    log_path = files.subnet_log_path(arch.key, weights)
    summary = train_network(subnet, batches, valid, config, checkpoint_path, log_path, made_from, _shown(progress))
    path = files.subnet_path(arch.key, weights)
    save_subnet(path, subnet)
    card = SubnetCard(
        made_from=made_from,
        arch=arch,
        weights=weights,
        corpus_sha256=corpus.sha256,
        tokenizer_sha256=state.card.tokenizer_sha256,
        supernet_sha256=_supernet_sha256(state, weights),
        subnet_sha256=sha256_file(path),
        steps=summary.updates,
        start_loss=start_loss,
        loss=summary.losses["subnet_loss"],
        train_seconds=summary.train_seconds,
    )
    write_record(files.subnet_card_path(arch.key, weights), card)
    checkpoint_path.unlink()
    return card


def _shown(progress: Progress) -> Callable[[int, int, float, float, float], None]:
    def show(update: int, total: int, loss: float, tokens_per_s: float, _: float) -> None:
        progress.update("finetune", update, total, f"loss {loss:.3f}, {tokens_per_s:,.0f} tokens/s")

    return show


def _weights(from_scratch: bool) -> Weights:
    return "scratch" if from_scratch else "finetuned"


def _supernet_sha256(state: Trained, weights: Weights) -> str | None:
    return None if weights == "scratch" else state.card.supernet_sha256


def _finished(state: Trained, arch: ArchConfig, weights: Weights, made_from: str) -> SubnetCard | None:
    try:
        card = subnet_card(state, arch, weights)
    except StaleInputError:
        return None
    return card if card.made_from == made_from else None


def _start(state: Trained, arch: ArchConfig, weights: Weights, config: TrainingConfig) -> "Subnet":
    from ..training.trainer import fresh_subnet

    if weights == "finetuned":
        return state.subnet(arch)
    return fresh_subnet(arch, state.run.config.space, state.card.vocab_size, state.run.config.supernet, config.seed)
