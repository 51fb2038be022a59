"""How an encoder's teacher comes about: the checkpoint is trained on the task, unless a teacher is
given, and its heads and neurons are ordered by importance.
"""

import logging
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from ...config.encoder import POOLED_HEADS, EncoderRunConfig
from ...config.lookup import resolve_path
from ...config.pooling import HUB, read_vector_modules
from ...config.sections import TrainingConfig
from ...data.batches import Batch, Batches, ordered_batches
from ...errors import ConfigError, StaleInputError
from ...family import TeacherTask
from ...record import Record
from ...spaces.encoder_choices import VECTOR_HEADS, EncoderArch
from ...storage import fingerprint, readable_record, sha256_file, write_record
from ...supernet.checkpoint import load_subnet, save_subnet
from ...supernet.elastic import StateDict
from ...training.trainer import TrainingJob, TrainingSummary, train
from ...workspace import CHECKPOINT_NAME
from .batch import EncoderBatch
from .checkpoint import Checkpoint, check_fits, load_checkpoint
from .dataset import EncoderDataset
from .elastic import fit_scale, fresh_subnet, skeleton, teacher_network
from .given_teacher import GivenTeacher, check_names, load_given_teacher, same_folder
from .importance import ContrastBatch, Importance, measure_importance, reorder
from .kept_head import put_on_scale
from .network import EncoderSubnet
from .targets import output_order, warn_of_chance, warn_of_order, warn_of_untaught
from .teacher import EncoderTeacher

_log = logging.getLogger(__name__)

SHARED_FIELDS = (
    "tokens_per_batch",
    "grad_accum_steps",
    "schedule",
    "adam_betas",
    "weight_decay",
    "clip_norm",
    "label_smoothing",
    "seed",
    "compute",
    "amp",
    "activation_checkpointing",
    "threads",
    "checkpoint_every",
    "log",
    "rank_timeout_s",
)
"""Keys of [training] that hold for the teacher's training as well."""

IMPORTANCE_BATCHES = 16
"""Training batches whose gradients say which heads and neurons matter."""


class TeacherCard(Record):
    """What a teacher was made from, and what it came to."""

    version: int = 1
    inputs_sha256: str
    weights_sha256: str
    loss: float
    train_seconds: float
    is_largest: bool = True


def open_teacher(task: TeacherTask) -> EncoderTeacher:
    """Train the teacher, or go on where a killed run stopped; a finished one is read, and so is one
    that is given.
    """
    config: EncoderRunConfig = task.config
    training = training_alone(config)
    older = (
        task.data_sha256,
        config.vocab_size,
        config.space,
        config.supernet.dropout,
        training.fingerprinted,
    )
    inputs_sha256 = fingerprint(*older, config.max_tokens, config.supernet.attention_dropout)
    path = task.folder / "teacher.safetensors"
    card = _finished(path, inputs_sha256)
    if card is None and task.train is None:
        # of an older version: what a finished supernet has learned from stays its teacher
        card = _finished(path, fingerprint(*older))
    if card is None:
        if task.train is None or task.valid is None:
            raise StaleInputError(
                f"{path} is missing or was made from something else; run `mosdeploy train`"
            )
        card = _make(task, training, inputs_sha256, path)
    network = load_subnet(
        path,
        config.space,
        lambda arch: skeleton(arch, config.space, config.vocab_size, config.supernet),
    )
    return EncoderTeacher(network, task, card.is_largest, card.weights_sha256)


def training_alone(config: EncoderRunConfig) -> TrainingConfig:
    """The training of the teacher alone: of [training] only what one network heeds too, so that
    another sandwich or budget of the supernet does not ask for another teacher.
    """
    steps = config.teacher.steps
    shared = {name: getattr(config.training, name) for name in SHARED_FIELDS}
    own = {
        "steps": steps,
        "learning_rate": config.teacher.learning_rate,
        "warmup_steps": steps // 10,
        "validate_every": max(1, steps // 4),
    }
    return TrainingConfig().model_copy(update=shared | own)


def _finished(path: Path, inputs_sha256: str) -> TeacherCard | None:
    """The card of a teacher of these inputs, if it lies there whole."""
    card = readable_record(TeacherCard, _card_path(path))
    if card is None or card.inputs_sha256 != inputs_sha256 or not path.exists():
        return None
    return card if sha256_file(path) == card.weights_sha256 else None


def _card_path(path: Path) -> Path:
    return path.with_suffix(".json")


def _make(
    task: TeacherTask, training: TrainingConfig, inputs_sha256: str, path: Path
) -> TeacherCard:
    """Train the checkpoint on the task unless a teacher is given, order its heads and neurons, and
    write it.
    """
    config: EncoderRunConfig = task.config
    # before anything is removed: it may not fit
    given = None if config.teacher.path is None else load_given_teacher(config, task.root)
    if given is not None:
        check_names(given.checkpoint, config.task)
    for outputs in path.parent.glob("outputs-*"):
        outputs.unlink()  # of another teacher
    is_largest = given is None or (given.is_of_family and same_folder(config, task.root))
    network, has_head = _start(config, task.root, given, is_largest)
    examples = cast("EncoderDataset", task.train)
    if config.task.labels:
        warn_of_untaught(np.unique(_classes(examples, config)).tolist(), config.task)
    # what a training resumes from has a head that was put on its scale
    if given is None and not _checkpoint_path(path.parent).exists():
        put_on_scale(network, examples, config)
    fit_scale(network, examples.labels)
    batches = Batches(examples, training.tokens_per_batch, training.seed)
    loss = 0.0
    seconds = 0.0
    if config.teacher_steps:
        summary = _train(network, batches, task, training, inputs_sha256)
        loss = summary.losses["subnet_loss"]
        if config.task.labels:
            warn_of_chance(loss, _classes(cast("EncoderDataset", task.valid), config))
        seconds = summary.train_seconds
    # a head that was drawn and never trained says nothing of heads and neurons
    is_taught = has_head or config.teacher_steps > 0
    knows_task = is_largest and is_taught and config.task.kind != "embedding"
    importance = _importance(network, batches, config, knows_task)
    network.load_state_dict(reorder(network.state_dict(), importance))
    save_subnet(path, network)
    card = TeacherCard(
        inputs_sha256=inputs_sha256,
        weights_sha256=sha256_file(path),
        loss=loss,
        train_seconds=seconds,
        is_largest=is_largest,
    )
    write_record(_card_path(path), card)
    _checkpoint_path(path.parent).unlink(missing_ok=True)
    return card


def _train(
    network: EncoderSubnet,
    batches: Batches,
    task: TeacherTask,
    training: TrainingConfig,
    inputs_sha256: str,
) -> TrainingSummary:
    job = TrainingJob(
        config=training,
        state_path=_checkpoint_path(task.folder),
        log_path=task.folder / "log.jsonl",
        inputs_sha256=inputs_sha256,
        remedy="lower teacher.learning_rate",
    )
    valid = ordered_batches(cast("EncoderDataset", task.valid))
    return train(network, batches, valid, job, task.show)


def _classes(examples: EncoderDataset, config: EncoderRunConfig) -> npt.NDArray[np.int64]:
    """The classes or tags that are asked for (N,)."""
    targets = examples.tags.flat if config.task.kind == "tagging" else examples.labels
    found: npt.NDArray[np.int64] = targets[targets >= 0].astype(np.int64)
    return found


def _importance(
    network: EncoderSubnet, batches: Batches, config: EncoderRunConfig, knows_task: bool
) -> Importance:
    """Of the heads and neurons for the task's loss; where the network's head has not learned the
    task, for how well texts are told apart.
    """
    count = min(IMPORTANCE_BATCHES, len(batches))
    examples: list[Batch] = [batches[step] for step in range(count)]
    if knows_task:
        return measure_importance(network, examples)
    # without the head, the network gives vectors: those of an embedding task, else means
    head = config.space.head if config.space.head in VECTOR_HEADS else "vector"
    space = config.space.model_copy(update={"head": head, "num_outputs": 0})
    body = EncoderSubnet(network.arch, space, config.vocab_size, config.supernet)
    body.load_state_dict(
        {name: x for name, x in network.state_dict().items() if not name.startswith("head.")}
    )
    return measure_importance(
        body, [ContrastBatch(cast("EncoderBatch", batch)) for batch in examples]
    )


def check_checkpoint(config: EncoderRunConfig, root: Path) -> None:
    """Compare the space of a run file with its checkpoint, before anything is measured for it; one
    that is not here yet is left to the training.
    """
    path = config.checkpoint.path
    if path is not None and not path.startswith(HUB) and resolve_path(path, root).is_dir():
        check_fits(load_checkpoint(path, root), config.space, config.vocab_size)


def _checkpoint_path(folder: Path) -> Path:
    """Of the state that a killed training resumes from."""
    return folder / CHECKPOINT_NAME


def _start(
    config: EncoderRunConfig, root: Path, given: GivenTeacher | None, is_largest: bool
) -> tuple[EncoderSubnet, bool]:
    """The largest network with the checkpoint's weights, or with random ones; beside a teacher that
    is another network, with a fresh head. And whether the head is whole as it came.
    """
    space = config.space
    seed = config.training.seed
    if config.checkpoint.path is None:
        if config.task.kind == "embedding":
            _log.warning("without checkpoint.path, vectors of random weights are learned")
        largest = cast("EncoderArch", space.largest)
        return fresh_subnet(largest, space, config.vocab_size, config.supernet, seed), False
    checkpoint = load_checkpoint(config.checkpoint.path, root)
    check_fits(checkpoint, space, config.vocab_size)
    if config.task.kind == "embedding":
        _check_vectors(checkpoint.folder, config)
    if given is None:
        weights = _in_order(checkpoint, config)
    elif is_largest:
        weights = given.network.state_dict()  # the outputs of its head are in the task's order
    else:
        weights = checkpoint.weights(config.space.head)
        weights = {name: x for name, x in weights.items() if not name.startswith("head.out.")}
    network = teacher_network(space, config.vocab_size, config.supernet, weights, seed)
    head = {name for name in network.state_dict() if name.startswith("head.")}
    return network, head <= weights.keys()


def _in_order(checkpoint: Checkpoint, config: EncoderRunConfig) -> StateDict:
    """The checkpoint's weights, the outputs of its head in the order of the task's; without outputs
    of other classes or tags.
    """
    task = config.task
    weights = checkpoint.weights(config.space.head)
    outputs = {name: x for name, x in weights.items() if name.startswith("head.out.")}
    if not task.labels or {len(x) for x in outputs.values()} != {task.num_outputs}:
        return weights  # outputs of another number are drawn anew
    own = ", ".join(checkpoint.labels)
    wanted = ", ".join(task.tag_names)
    order = output_order(checkpoint.labels, task)
    if order is None:
        _log.info("%s has outputs for %s, not %s: left out", checkpoint.folder, own, wanted)
        return {name: x for name, x in weights.items() if name not in outputs}
    if not own:
        warn_of_order(checkpoint.folder, task)
    elif order != sorted(order):
        _log.info("outputs of %s, %s, put in the order %s", checkpoint.folder, own, wanted)
    return weights | {name: x[order] for name, x in outputs.items()}


def _check_vectors(folder: Path, config: EncoderRunConfig) -> None:
    """Make sure that the network makes vectors as the checkpoint does, unless the run file says how
    it shall; of one that was downloaded just now, the run file could not know.
    """
    said = None if config.task.pooling else read_vector_modules(folder)
    if said is None:
        return
    if config.space.head != POOLED_HEADS[said.pooling]:
        raise ConfigError(
            f"the run file does not fit the checkpoint {folder}: write "
            f'pooling = "{said.pooling}" in [task]'
        )
    if not said.is_normalized:
        _log.warning("vectors of %s are not normalised; those learned here have length 1", folder)
