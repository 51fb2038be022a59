"""The teacher of an encoder's supernet: what it starts from, and whose outputs all learn."""

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import cast

import numpy as np
import numpy.typing as npt

from ...config.encoder import EncoderRunConfig, TaskKind
from ...data.batches import Batch, ordered_batches
from ...family import ScoredExamples, TeacherTask
from ...records import Scores
from ...spaces.encoder_choices import EncoderArch
from ...spaces.genes import ArchConfig
from ...supernet.elastic import StateDict, Subnet
from ...supernet.supernet import Supernet
from .batch import EncoderBatch
from .dataset import EncoderDataset
from .elastic import fresh_supernet, sliced_subnet
from .examples import Example
from .given_teacher import GivenTeacher, load_given_teacher
from .labelling import Labels

_log = logging.getLogger(__name__)


class EncoderTeacher:
    """A trained encoder of the largest architecture, or one that is given beside it."""

    def __init__(
        self, network: Subnet, task: TeacherTask, is_largest: bool, weights_sha256: str
    ) -> None:
        self._network = network
        self._config: EncoderRunConfig = task.config
        self._root = task.root
        self._folder = task.folder
        self._show = task.show_labels
        self.is_largest = is_largest
        self.weights_sha256 = weights_sha256

    @cached_property
    def _given(self) -> GivenTeacher:
        # read when it is first asked: its outputs for most examples are kept
        return load_given_teacher(self._config, self._root)

    @property
    def weights(self) -> StateDict:
        """Weights by name, as a subnet has them."""
        return dict(self._network.state_dict())

    def label(self, dataset: EncoderDataset, examples: Sequence[Example]) -> EncoderDataset:
        """The same examples with the teacher's outputs, which are computed once and kept."""
        if self._config.task.kind == "masked-lm":
            return dataset
        ids = dataset.ids
        if not self.is_largest and self._config.task.kind != "tagging":
            ids = self._given.ids(examples)  # its tokenizer may be another
        labels = Labels(self._folder, ids)
        if not labels.is_whole:
            network = self._network if self.is_largest else self._given.network
            layout = dataset.layout if self.is_largest else self._given.layout.of(examples)
            labels.compute(network, layout, self._config.training, self._show)
            if self._config.teacher.path is not None:
                warn_of_answers(self._config.task.kind, dataset.labels, labels.outputs)
        return dataset.with_teacher(labels.outputs)

    def scores(
        self, scored: ScoredExamples, examples: Sequence[Example], valid: EncoderDataset
    ) -> Scores:
        """Scores of a teacher that is given; its loss is that of its own outputs."""
        given = self._given
        if self._config.task.kind == "tagging":
            metrics = scored.evaluate(given.network)
        else:
            answers = given.outputs(examples)
            metrics = scored.metrics([scored.decode(x.tolist()) for x in answers])
        batches = ordered_batches(valid)
        return Scores(
            arch=given.network.arch,
            num_parameters=sum(weight.numel() for weight in given.network.parameters()),
            metrics=metrics,
            loss=_own_loss(batches),
            num_examples=len(scored),
            setup=f"{given.max_tokens} tokens",
            weights="teacher",
        )

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


def _own_loss(batches: Sequence[Batch]) -> float:
    """Loss of a teacher's outputs themselves, in nats a target."""
    total = 0.0
    for batch in batches:
        outputs = cast("EncoderBatch", batch).teacher
        assert outputs is not None  # the examples are labelled
        total += float(batch.losses(outputs).sum())
    return total / sum(batch.num_targets for batch in batches)


def warn_of_answers(
    kind: TaskKind, labels: npt.NDArray[np.float64], outputs: Sequence[npt.NDArray[np.float32]]
) -> None:
    """Warn where a teacher that is given knows less of the labels (N,) than a constant does: what
    all learn from is then in another order, or on another scale.
    """
    if kind == "classification":
        right = 100 * np.mean([x.argmax() for x in outputs] == labels)
        usual = 100 * np.bincount(labels.astype(np.int64)).max() / len(labels)
        if right < usual:
            _log.warning(
                "teacher.path: it tells %.1f%% of %d examples as they are labelled, the most "
                "frequent class alone %.1f%%: are its outputs those of this task, in the order of "
                "task.labels?",
                right,
                len(labels),
                usual,
            )
    if kind == "regression":
        error = np.abs(np.concatenate(outputs) - labels).mean()
        usual = np.abs(labels - labels.mean()).mean()
        if error > usual:
            _log.warning(
                "teacher.path: its answers to %d examples are off by %.4g in the mean, the mean of "
                "the labels alone by %.4g: are they on the scale of the labels?",
                len(labels),
                error,
                usual,
            )
