"""The teacher of an encoder's supernet: the checkpoint, trained on the task, unless an external
teacher is given; its heads and neurons are ordered by importance.
"""

import hashlib
import io
import logging
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from ...config.encoder import (
    HUB,
    POOLED_HEADS,
    EncoderRunConfig,
    TaskKind,
    read_vector_modules,
)
from ...config.lookup import resolve_path
from ...config.sections import TrainingConfig
from ...data.batches import Batch, Batches, Ragged, ordered_batches
from ...errors import ConfigError, StaleInputError
from ...family import ScoredExamples, TeacherTask
from ...record import Record
from ...records import Scores
from ...spaces.encoder import VECTOR_HEADS, EncoderArch
from ...spaces.genes import ArchConfig
from ...storage import atomic_write, fingerprint, readable_record, sha256_file, write_record
from ...supernet.checkpoint import load_subnet, save_subnet
from ...supernet.elastic import StateDict, Subnet
from ...supernet.supernet import Supernet
from ...training.device import COMPUTE_MODES, ComputeModeTrial, DeviceContext, fastest
from ...training.trainer import TrainingJob, train
from ...workspace import CHECKPOINT_NAME
from .checkpoint import (
    Checkpoint,
    check_fits,
    load_checkpoint,
    output_order,
    put_on_scale,
    warn_of_order,
)
from .checkpoint_files import resolve_folder
from .dataset import BatchLayout, EncoderBatch, EncoderDataset
from .elastic import (
    fit_scale,
    fresh_subnet,
    fresh_supernet,
    skeleton,
    sliced_subnet,
    teacher_network,
)
from .examples import Example
from .external_teacher import KEY, ExternalTeacher, check_names, load_external_teacher
from .network import EncoderSubnet
from .scoring import BATCH_TEXTS, outputs_of

_log = logging.getLogger(__name__)

# -- outputs that are kept


TRIAL_TEXTS = 2 * BATCH_TEXTS

PART_TEXTS = 64 * BATCH_TEXTS
"""Texts of a file, and what a kill costs at most."""

TRIAL_NAME = "outputs-precision.json"
"""The choice of a precision, which holds for all outputs of a teacher."""

_DAMAGE = (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""Errors of numpy and zipfile on a damaged file."""

Show = Callable[[int, int], None]
"""Told how many of all texts have outputs."""


class TeacherOutputs:
    """Outputs for each text, kept in files of `PART_TEXTS`: (C,), of its pieces (length, C), or
    (d,).
    """

    def __init__(self, folder: Path, ids: Ragged) -> None:
        digest = hashlib.sha256(ids.offsets.tobytes())
        digest.update(np.ascontiguousarray(ids.flat).tobytes())
        self._folder = folder
        self._name = f"outputs-{digest.hexdigest()[:16]}"
        self._ids = ids
        self._num_done = 0
        # in the order of the texts
        self.values: list[npt.NDArray[np.float32]] = [np.empty(0, np.float32)] * len(ids)
        order = np.argsort(ids.lengths, kind="stable")
        starts = range(0, len(ids), PART_TEXTS)
        parts = {i: order[start : start + PART_TEXTS] for i, start in enumerate(starts)}
        self._missing = {i: rows for i, rows in parts.items() if not self._read(i, rows)}

    @property
    def is_whole(self) -> bool:
        """Whether there are outputs for all texts."""
        return not self._missing

    def compute(
        self,
        network: Subnet,
        layout: BatchLayout,
        training: TrainingConfig,
        show: Show | None = None,
    ) -> None:
        """Compute the missing outputs. The network is left on the CPU."""
        missing = np.concatenate([*self._missing.values()]) if self._missing else ()
        context = self._context(network, [self._ids[i].tolist() for i in missing], layout, training)
        network.to(context.device)

        def tell(num_done: int) -> None:
            if show is not None:
                show(self._num_done + num_done, len(self._ids))

        for number, rows in list(self._missing.items()):
            texts = [self._ids[i].tolist() for i in rows]
            found = [x.numpy() for x in _outputs(network, texts, layout, context, tell)]
            buffer = io.BytesIO()  # outputs of any length end to end, and where each ends
            ends = np.cumsum([len(output) for output in found])
            np.savez(buffer, outputs=np.concatenate(found), ends=ends)
            atomic_write(self._path(number), buffer.getvalue())
            self._take(rows, found)
            del self._missing[number]
        network.to("cpu")

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._name}-{number}.npz"

    def _read(self, number: int, rows: npt.NDArray[np.int64]) -> bool:
        try:
            with self._path(number).open("rb") as file, np.load(file) as arrays:
                found = np.split(arrays["outputs"], arrays["ends"][:-1])
        except _DAMAGE:
            return False  # they are computed again
        if len(found) != len(rows):
            return False
        self._take(rows, found)
        return True

    def _take(self, rows: npt.NDArray[np.int64], found: Sequence[npt.NDArray[np.float32]]) -> None:
        for row, output in zip(rows, found, strict=True):
            self.values[row] = output
        self._num_done += len(rows)

    def _context(
        self,
        network: Subnet,
        texts: Sequence[Sequence[int]],
        layout: BatchLayout,
        training: TrainingConfig,
    ) -> DeviceContext:
        """Choose where and in which precision to compute; on a CPU, by trying on some texts."""
        context = DeviceContext.of(training)
        if training.amp != "auto" or context.device.type != "cpu":
            return context
        trial = readable_record(ComputeModeTrial, self._folder / TRIAL_NAME)
        if trial is None:
            if len(texts) <= 2 * TRIAL_TEXTS:
                return context
            sample = texts[:: len(texts) // TRIAL_TEXTS][:TRIAL_TEXTS]  # of all lengths
            compute = partial(_outputs, network, sample, layout)
            trial = fastest(
                {mode: partial(compute, mode.within(context)) for mode in COMPUTE_MODES}
            )
            write_record(self._folder / TRIAL_NAME, trial)
        return trial.mode.within(context)


def _outputs(
    network: Subnet,
    texts: Sequence[Sequence[int]],
    layout: BatchLayout,
    context: DeviceContext,
    show: Callable[[int], None] | None = None,
) -> list[Tensor]:
    with context.attention(), context.autocast():
        return outputs_of(network, texts, layout, show)


# -- heads and neurons by importance


CONTRAST_TEMPERATURE = 0.05
"""Divides similarities of vectors, which lie between -1 and 1."""


@dataclass(frozen=True)
class Importance:
    """How much the loss depends on each part of each layer."""

    heads: Tensor
    neurons: Tensor


def contrast_loss(vectors: Tensor) -> Tensor:
    """How badly texts are told apart by their normalised vectors (B, d), as a scalar."""
    similarities = vectors.float() @ vectors.float().T / CONTRAST_TEMPERATURE  # (B, B)
    own = torch.arange(len(vectors), device=vectors.device)
    return F.cross_entropy(similarities, own, reduction="sum")


def measure_importance(
    net: EncoderSubnet, batches: Iterable[Batch], knows_task: bool = True
) -> Importance:
    """Sum over batches of the size of the loss's first-order change when a head or a neuron goes:
    of the task's loss, or of `contrast_loss` for a network that gives vectors.
    """
    parameters = {name: x for name, x in net.named_parameters() if name.startswith("layers.")}
    device = next(iter(parameters.values())).device
    layers = net.arch.layers
    heads = torch.zeros(len(layers), layers[0].heads, dtype=torch.float64, device=device)
    neurons = torch.zeros(len(layers), layers[0].ffn_dim, dtype=torch.float64, device=device)
    was_training = net.training
    net.eval()
    for batch in batches:
        own = batch.to(device)
        outputs = net(*own.inputs())
        loss = own.loss(outputs) if knows_task else contrast_loss(outputs)
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        change = {
            name: weight.detach().double() * gradient
            for (name, weight), gradient in zip(parameters.items(), gradients, strict=True)
        }
        for i in range(len(layers)):
            # m acts like a factor on the head's columns of the output map
            by_column = change[f"layers.{i}.self_attn.out.weight"].sum(0)  # (H * head width,)
            heads[i] += by_column.view(layers[i].heads, -1).sum(1).abs()
            rows = change[f"layers.{i}.fc1.weight"].sum(1) + change[f"layers.{i}.fc1.bias"]  # (F,)
            neurons[i] += rows.abs() + change[f"layers.{i}.fc2.weight"].sum(0).abs()
    net.train(was_training)
    return Importance(heads.cpu(), neurons.cpu())


def reorder(weights: StateDict, importance: Importance) -> StateDict:
    """The same network with the heads and neurons of each layer by decreasing importance; equal
    ones keep their order.
    """
    result = dict(weights)
    for i in range(len(importance.heads)):
        attention = f"layers.{i}.self_attn"
        heads = _descending(importance.heads[i])  # (H,)
        width = len(weights[f"{attention}.q.weight"]) // len(heads)
        # the rows of a head stay together
        rows = (heads[:, None] * width + torch.arange(width)).flatten()  # (H * head width,)
        for name in ("q", "k", "v"):
            for kind in ("weight", "bias"):
                full_name = f"{attention}.{name}.{kind}"
                result[full_name] = weights[full_name][rows]
        result[f"{attention}.out.weight"] = weights[f"{attention}.out.weight"][:, rows]
        neurons = _descending(importance.neurons[i])  # (F,)
        for full_name in (f"layers.{i}.fc1.weight", f"layers.{i}.fc1.bias"):
            result[full_name] = weights[full_name][neurons]
        result[f"layers.{i}.fc2.weight"] = weights[f"layers.{i}.fc2.weight"][:, neurons]
    return result


def _descending(values: Tensor) -> Tensor:
    return values.argsort(descending=True, stable=True)


# -- the teacher

SUPERNET_KEYS = ("budget", "num_winners", "batch_sharing", "sandwich", "num_random_archs")
"""Keys of [training] that say nothing of one network's training."""

IMPORTANCE_BATCHES = 16
"""Training batches whose gradients say which heads and neurons matter."""

CHANCE_SHARES = (0.99, 1.05)
"""Of the loss of knowing only how often each class comes: between these a teacher may have learned
nothing; above, it is wrong and sure of it, and may be right often.
"""


class TeacherCard(Record):
    """The inputs of a teacher, and its validation loss."""

    version: int = 1
    inputs_sha256: str
    weights_sha256: str
    loss: float
    train_seconds: float
    is_largest: bool = True


class EncoderTeacher:
    """A trained encoder of the largest architecture, or an external one beside it."""

    def __init__(self, network: Subnet, task: TeacherTask, card: TeacherCard) -> None:
        self._network = network
        self._config: EncoderRunConfig = task.config
        self._task = task
        self.folder = task.folder
        self.is_largest = card.is_largest
        self.weights_sha256 = card.weights_sha256

    @cached_property
    def _external(self) -> ExternalTeacher:
        # read when it is first asked: its outputs for most examples are kept
        return load_external_teacher(self._config, self._task.root)

    @property
    def weights(self) -> StateDict:
        """Weights by name, as a subnet has them."""
        return dict(self._network.state_dict())

    def label(self, dataset: EncoderDataset, examples: Sequence[Example]) -> EncoderDataset:
        """The same examples with the teacher's outputs, which are computed once and kept."""
        config = self._config
        if config.task.kind == "masked-lm":
            return dataset
        ids = dataset.ids
        if not self.is_largest and config.task.kind != "tagging":
            ids = self._external.ids(examples)  # its tokenizer may be another
        outputs = TeacherOutputs(self._task.folder, ids)
        if not outputs.is_whole:
            network, layout = self._network, dataset.layout
            if not self.is_largest:
                network, layout = self._external.network, self._external.layout.of(examples)
            outputs.compute(network, layout, config.training, self._task.show_labels)
            if config.teacher.path is not None:
                warn_of_answers(config.task.kind, dataset.labels, outputs.values)
        return dataset.with_teacher(outputs.values)

    def scores(
        self, scored: ScoredExamples, examples: Sequence[Example], valid: EncoderDataset
    ) -> Scores:
        """Scores of an external teacher; its loss is that of its own outputs."""
        external = self._external
        if self._config.task.kind == "tagging":
            metrics = scored.evaluate(external.network)
        else:
            answers = external.outputs(examples)
            metrics = scored.metrics([scored.decode(x.tolist()) for x in answers])
        return Scores(
            arch=external.network.arch,
            num_parameters=sum(weight.numel() for weight in external.network.parameters()),
            metrics=metrics,
            loss=_own_loss(ordered_batches(valid)),
            num_examples=len(scored),
            setup=f"{external.max_tokens} tokens",
            weights="teacher",
        )

    def supernet(self, seed: int) -> Supernet:
        """A supernet whose largest subnet computes what the teacher computes."""
        sizes = (self._config.space, self._config.vocab_size, self._config.supernet)
        return fresh_supernet(*sizes, seed, start=self.weights)

    def subnet(self, arch: ArchConfig) -> Subnet:
        """The part of the teacher that an architecture holds."""
        sizes = (self._config.space, self._config.vocab_size, self._config.supernet)
        return sliced_subnet(cast("EncoderArch", arch), *sizes, start=self.weights)


def _own_loss(batches: Sequence[Batch]) -> float:
    """Loss of a teacher's outputs themselves, in nats a target."""
    total = 0.0
    for batch in batches:
        outputs = cast("EncoderBatch", batch).teacher
        assert outputs is not None  # the examples are labelled
        total += float(batch.losses(outputs).sum())
    return total / sum(batch.num_targets for batch in batches)


# -- making it


def open_teacher(task: TeacherTask) -> EncoderTeacher:
    """Train the teacher, or go on where a killed run stopped; a finished one is read."""
    config: EncoderRunConfig = task.config
    training = training_alone(config)
    inputs_sha256 = fingerprint(
        task.data_sha256,
        config.vocab_size,
        config.space,
        config.supernet.dropout,
        training.fingerprinted,
        config.max_tokens,
        config.supernet.attention_dropout,
    )
    # a teacher that is made otherwise lies in another folder
    task = replace(task, folder=task.folder / inputs_sha256[:16])
    path = task.folder / "teacher.safetensors"
    card_path = path.with_suffix(".json")
    card = readable_record(TeacherCard, card_path)
    if card is None or not path.exists() or sha256_file(path) != card.weights_sha256:
        if task.train is None or task.valid is None:
            raise StaleInputError(
                f"{path} is missing or was made from something else; run `mosdeploy train`"
            )
        card = _make(task, training, inputs_sha256, path)
        write_record(card_path, card)
        (task.folder / CHECKPOINT_NAME).unlink(missing_ok=True)
    network = load_subnet(
        path,
        config.space,
        lambda arch: skeleton(arch, config.space, config.vocab_size, config.supernet),
    )
    return EncoderTeacher(network, task, card)


def training_alone(config: EncoderRunConfig) -> TrainingConfig:
    """The training of the teacher alone: another sandwich or budget of the supernet does not ask
    for another teacher.
    """
    steps = config.teacher.steps
    unset = {name: getattr(TrainingConfig(), name) for name in SUPERNET_KEYS}
    own = {
        "steps": steps,
        "learning_rate": config.teacher.learning_rate,
        "warmup_steps": steps // 10,
        "validate_every": max(1, steps // 4),
    }
    return config.training.model_copy(update=unset | own)


def _make(
    task: TeacherTask, training: TrainingConfig, inputs_sha256: str, path: Path
) -> TeacherCard:
    """Train the checkpoint on the task unless a teacher is given, order its heads and neurons, and
    write it.
    """
    config: EncoderRunConfig = task.config
    # before anything is removed: it may not fit
    external = None if config.teacher.path is None else load_external_teacher(config, task.root)
    if external is not None:
        check_names(external.checkpoint, config.task)
    for outputs in path.parent.glob("outputs-*"):
        outputs.unlink()  # of another teacher
    is_largest = external is None or (external.is_of_family and same_folder(config, task.root))
    network, has_head = _start(config, task.root, external, is_largest)
    examples = cast("EncoderDataset", task.train)
    # what a training resumes from has a head that was put on its scale
    if external is None and not (task.folder / CHECKPOINT_NAME).exists():
        put_on_scale(network, examples, config)
    fit_scale(network, examples.labels)
    batches = Batches(examples, training.tokens_per_batch, training.seed)
    loss = seconds = 0.0
    if config.teacher_steps:
        job = TrainingJob(
            config=training,
            state_path=task.folder / CHECKPOINT_NAME,
            log_path=task.folder / "log.jsonl",
            inputs_sha256=inputs_sha256,
            remedy="lower teacher.learning_rate",
        )
        valid = cast("EncoderDataset", task.valid)
        summary = train(network, batches, ordered_batches(valid), job, task.show)
        loss, seconds = summary.losses["subnet_loss"], summary.train_seconds
        if config.task.labels:
            warn_of_chance(loss, _classes(valid, config))
    # a head that was drawn and never trained says nothing of heads and neurons
    is_taught = has_head or config.teacher_steps > 0
    knows_task = is_largest and is_taught and config.task.kind != "embedding"
    importance = _importance(network, batches, config, knows_task)
    network.load_state_dict(reorder(network.state_dict(), importance))
    save_subnet(path, network)
    return TeacherCard(
        inputs_sha256=inputs_sha256,
        weights_sha256=sha256_file(path),
        loss=loss,
        train_seconds=seconds,
        is_largest=is_largest,
    )


def _importance(
    network: EncoderSubnet, batches: Batches, config: EncoderRunConfig, knows_task: bool
) -> Importance:
    """Importance of the heads and neurons for the task's loss; where the network's head has not
    learned the task, for how well texts are told apart.
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
    return measure_importance(body, examples, knows_task)


# -- the network that it starts as


def check_checkpoint(config: EncoderRunConfig, root: Path) -> None:
    """Compare the space of a run file with its checkpoint, before anything is measured for it; one
    that is not here yet is left to the training.
    """
    path = config.checkpoint.path
    if path is not None and not path.startswith(HUB) and resolve_path(path, root).is_dir():
        check_fits(load_checkpoint(path, root), config.space, config.vocab_size)


def same_folder(config: EncoderRunConfig, root: Path) -> bool:
    """Whether the external teacher is the checkpoint that all starts from."""
    path, given = config.checkpoint.path, config.teacher.path
    if path is None or given is None:
        return False
    return resolve_folder(path, root).samefile(resolve_folder(given, root, KEY))


def _start(
    config: EncoderRunConfig, root: Path, external: ExternalTeacher | None, is_largest: bool
) -> tuple[EncoderSubnet, bool]:
    """The largest network with the checkpoint's weights, or with random ones; beside an external
    teacher, with a fresh head. And whether the head is whole as it came.
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
    if external is None:
        weights = _in_order(checkpoint, config)
    elif is_largest:
        weights = external.network.state_dict()  # its outputs are in the task's order
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
    """Check that the network makes vectors as the checkpoint does, unless the run file says how it
    shall; of one that was downloaded just now, the run file could not know.
    """
    modules = None if config.task.pooling else read_vector_modules(folder)
    if modules is not None and config.space.head != POOLED_HEADS[modules.pooling]:
        raise ConfigError(
            f"the run file does not fit the checkpoint {folder}: write "
            f'pooling = "{modules.pooling}" in [task]'
        )
    if modules is not None and not modules.is_normalized:
        _log.warning("vectors of %s are not normalised; those learned here have length 1", folder)


# -- warnings


def _classes(examples: EncoderDataset, config: EncoderRunConfig) -> npt.NDArray[np.int64]:
    """The classes or tags that are asked for (N,)."""
    targets = examples.tags.flat if config.task.kind == "tagging" else examples.labels
    found: npt.NDArray[np.int64] = targets[targets >= 0].astype(np.int64)
    return found


def warn_of_chance(loss: float, classes: npt.NDArray[np.int64]) -> None:
    """Warn of a teacher whose loss is that of knowing only how often each class comes."""
    _, counts = np.unique(classes, return_counts=True)
    shares = counts / counts.sum()
    chance = -float(shares @ np.log(shares))  # 0 of one class alone
    low, high = (share * chance for share in CHANCE_SHARES)
    if 0 < low <= loss <= high:
        _log.warning(
            "the teacher's validation loss is %.3f, and %.3f is that of answering with how often "
            "each class comes: it may have learned nothing. If its scores say so too, raise "
            "teacher.steps or teacher.learning_rate, or take another checkpoint",
            loss,
            chance,
        )


def warn_of_answers(
    kind: TaskKind, labels: npt.NDArray[np.float64], outputs: Sequence[npt.NDArray[np.float32]]
) -> None:
    """Warn where an external teacher knows less of the labels (N,) than a constant does: its
    outputs are then in another order, or on another scale.
    """
    if kind == "classification":
        right = np.mean([x.argmax() for x in outputs] == labels)
        usual = np.bincount(labels.astype(np.int64)).max() / len(labels)
        if right < usual:
            _log.warning(
                "teacher.path: it tells %.1f%% of %d examples as they are labelled, the most "
                "frequent class alone %.1f%%: are its outputs in the order of task.labels?",
                *(100 * right, len(labels), 100 * usual),
            )
    if kind == "regression":
        error = np.abs(np.concatenate(outputs) - labels).mean()
        usual = np.abs(labels - labels.mean()).mean()
        if error > usual:
            _log.warning(
                "teacher.path: its answers to %d examples are off by %.4g in the mean, the mean of "
                "the labels alone by %.4g: are they on the scale of the labels?",
                *(len(labels), error, usual),
            )
