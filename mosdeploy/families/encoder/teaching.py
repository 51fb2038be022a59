"""The teacher of an encoder's supernet: the checkpoint, trained on the task, its heads and neurons
ordered by importance.

In: a run file and examples as token ids. Out: an `EncoderTeacher`, kept in a folder; a killed
training goes on where it stopped. The supernet's largest subnet starts as the teacher, every
smaller one has its most important heads and neurons (DynaBERT, Hou et al., 2020), and all learn
from its outputs.
"""

import hashlib
import io
import logging
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from ...config.encoder import POOLED_HEADS, EncoderRunConfig
from ...config.pooling import read_vector_modules
from ...config.sections import TrainingConfig
from ...data.batches import Batches, ordered_batches
from ...data.protocols import Batch
from ...errors import ConfigError, StaleInputError
from ...family import TeacherTask
from ...record import Record
from ...spaces.encoder import EncoderArch
from ...spaces.genes import ArchConfig
from ...storage import atomic_write, fingerprint, read_record, sha256_file, write_record
from ...supernet.checkpoint import load_subnet, save_subnet
from ...supernet.elastic import StateDict, Subnet
from ...supernet.supernet import Supernet
from ...training.trainer import TrainingJob, train
from .batch import EncoderBatch
from .checkpoint import check_fits, load_checkpoint
from .dataset import EncoderDataset
from .elastic import fresh_subnet, fresh_supernet, skeleton, sliced_subnet, teacher_network
from .importance import ContrastBatch, measure_importance, reorder
from .network import EncoderSubnet
from .scoring import outputs_of

_log = logging.getLogger(__name__)

VALIDATION_TOKENS = 4096
"""Tokens of a batch that is only read, padding included."""

SHARED_FIELDS = (
    "tokens_per_batch",
    "grad_accum_steps",
    "schedule",
    "adam_betas",
    "clip_norm",
    "label_smoothing",
    "seed",
    "compute",
    "amp",
    "activation_checkpointing",
    "threads",
    "checkpoint_every",
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


class EncoderTeacher:
    """A trained encoder of the largest architecture.

    Parameters
    ----------
    network
        Its heads and neurons are ordered by importance.
    folder
        Where its outputs are kept.
    """

    def __init__(self, network: Subnet, config: EncoderRunConfig, folder: Path) -> None:
        self._network = network
        self._config = config
        self._folder = folder

    @property
    def weights(self) -> StateDict:
        """Weights by name, as a subnet has them."""
        return dict(self._network.state_dict())

    def label(self, dataset: EncoderDataset) -> EncoderDataset:
        """The same examples with the teacher's outputs, which are computed once and kept.

        A masked language model has none, since what is masked changes from epoch to epoch.

        Raises
        ------
        MosdeployError
            If the disk is full or read-only.
        """
        if self._config.task.kind == "masked-lm":
            return dataset
        digest = hashlib.sha256(dataset.ids.offsets.tobytes())
        digest.update(np.ascontiguousarray(dataset.ids.flat).tobytes())
        path = self._folder / f"outputs-{digest.hexdigest()[:16]}.npz"
        kept = _read_outputs(path)
        if kept is not None:
            return dataset.with_teacher(kept)
        texts = [dataset.ids[i].tolist() for i in range(len(dataset))]
        outputs = [x.numpy() for x in outputs_of(self._network, texts, dataset.layout)]
        self._keep(path, outputs)
        return dataset.with_teacher(outputs)

    def _keep(self, path: Path, outputs: Sequence[npt.NDArray[np.float32]]) -> None:
        """Write outputs of any length one behind the other, with the place where each ends."""
        buffer = io.BytesIO()
        ends = np.cumsum([len(output) for output in outputs])
        np.savez(buffer, outputs=np.concatenate(outputs), ends=ends)
        atomic_write(path, buffer.getvalue())

    def supernet(self, seed: int) -> Supernet:
        """A supernet whose largest subnet computes what the teacher computes."""
        config = self._config
        return fresh_supernet(
            config.space, config.vocab_size, config.supernet, seed, start=self.weights
        )

    def subnet(self, arch: ArchConfig) -> Subnet:
        """The part of the teacher that an architecture holds."""
        config = self._config
        return sliced_subnet(
            cast("EncoderArch", arch),
            config.space,
            config.vocab_size,
            config.supernet,
            start=self.weights,
        )


def _read_outputs(path: Path) -> list[npt.NDArray[np.float32]] | None:
    """Outputs as `EncoderTeacher` keeps them; None where there are none, or the file is damaged."""
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return np.split(arrays["outputs"], arrays["ends"][:-1])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        return None  # they are computed again


def open_teacher(task: TeacherTask) -> EncoderTeacher:
    """Train the teacher, or go on where a killed run stopped; a finished one is read.

    Raises
    ------
    ConfigError
        If the checkpoint does not fit the run file.
    StaleInputError
        If it is not trained and there are no examples, or an unfinished training was for something
        else.
    """
    config: EncoderRunConfig = task.config
    training = _training(config)
    inputs_sha256 = fingerprint(
        task.data_sha256, config.vocab_size, config.space, config.supernet.dropout, training
    )
    path = task.folder / "teacher.safetensors"
    if not _finished(path, inputs_sha256):
        if task.train is None or task.valid is None:
            raise StaleInputError(
                f"{path} is missing or was made from something else; run `mosdeploy train`"
            )
        _train(task, training, inputs_sha256, path)
    network = load_subnet(
        path,
        config.space,
        lambda arch: skeleton(arch, config.space, config.vocab_size, config.supernet),
    )
    return EncoderTeacher(network, config, task.folder)


def _training(config: EncoderRunConfig) -> TrainingConfig:
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


def _finished(path: Path, inputs_sha256: str) -> bool:
    """Whether a teacher of these inputs lies there whole."""
    try:
        card = read_record(TeacherCard, _card_path(path), "mosdeploy train")
    except StaleInputError:
        return False
    if card.inputs_sha256 != inputs_sha256 or not path.exists():
        return False
    return sha256_file(path) == card.weights_sha256


def _card_path(path: Path) -> Path:
    return path.with_suffix(".json")


def _train(task: TeacherTask, training: TrainingConfig, inputs_sha256: str, path: Path) -> None:
    """Train the checkpoint on the task, order its heads and neurons, write it."""
    config: EncoderRunConfig = task.config
    train_set = cast("EncoderDataset", task.train)
    valid_set = cast("EncoderDataset", task.valid)
    for outputs in path.parent.glob("outputs-*.npz"):
        outputs.unlink()  # of another teacher
    network = _start(config, task.root)
    batches = Batches(train_set, training.tokens_per_batch, training.seed)
    loss = 0.0
    seconds = 0.0
    if _learns(config):
        job = TrainingJob(
            config=training,
            state_path=path.with_name("checkpoint.pt"),
            log_path=path.with_name("log.jsonl"),
            inputs_sha256=inputs_sha256,
        )
        valid = ordered_batches(valid_set, VALIDATION_TOKENS)
        summary = train(network, batches, valid, job, task.show)
        loss = summary.losses["subnet_loss"]
        seconds = summary.train_seconds
    count = min(IMPORTANCE_BATCHES, len(batches))
    examples: list[Batch] = [batches[step] for step in range(count)]
    if config.task.kind == "embedding":
        examples = [ContrastBatch(cast("EncoderBatch", batch)) for batch in examples]
    importance = measure_importance(network, examples)
    network.load_state_dict(reorder(network.state_dict(), importance))
    save_subnet(path, network)
    card = TeacherCard(
        inputs_sha256=inputs_sha256,
        weights_sha256=sha256_file(path),
        loss=loss,
        train_seconds=seconds,
    )
    write_record(_card_path(path), card)
    path.with_name("checkpoint.pt").unlink(missing_ok=True)


def _learns(config: EncoderRunConfig) -> bool:
    """Whether the checkpoint is trained: it has to learn a task's labels, and language only where
    it starts from nothing. Vectors are learned from the checkpoint as it is.
    """
    if config.task.kind in ("embedding", "masked-lm"):
        return config.checkpoint.path is None and config.task.kind == "masked-lm"
    return True


def _start(config: EncoderRunConfig, root: Path) -> EncoderSubnet:
    """The largest network with the checkpoint's weights, or with random ones."""
    space = config.space
    seed = config.training.seed
    if config.checkpoint.path is None:
        if config.task.kind == "embedding":
            _log.warning("without checkpoint.path, vectors of random weights are learned")
        return fresh_subnet(
            cast("EncoderArch", space.largest), space, config.vocab_size, config.supernet, seed
        )
    checkpoint = load_checkpoint(config.checkpoint.path, root)
    check_fits(checkpoint, space, config.vocab_size)
    if config.task.kind == "embedding":
        _check_vectors(checkpoint.folder, config)
    weights = checkpoint.weights(space.head)
    return teacher_network(space, config.vocab_size, config.supernet, weights, seed)


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
