"""The head of a fine-tuned network, fitted to the outputs and the labels of a task."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ...config.encoder import EncoderRunConfig, TaskConfig
from .dataset import EncoderDataset
from .network import OUTPUT_STD, EncoderSubnet, PooledHead
from .scoring import outputs_of

_log = logging.getLogger(__name__)

NUM_TEXTS = 256
"""Training texts that a head answers: enough to tell whether it knows anything of their labels."""

MIN_CORRELATION = 0.2
"""Below, and above its negative, it knows nothing; three standard deviations of chance."""


def output_order(names: Sequence[str], task: TaskConfig) -> list[int] | None:
    """Return for each output of the task the number of the head's, by their names; None where they
    do not match. Case, and `_` for a space, may differ.
    """
    wanted = list(task.tag_names)
    if not names or not wanted:
        return list(range(task.num_outputs))
    if set(names) != set(wanted):
        names, wanted = (["_".join(x.casefold().split()) for x in part] for part in (names, wanted))
    # of two that are alike, nobody knows which is which
    if sorted(names) != sorted(wanted) or len(set(names)) < len(names):
        return None
    return [names.index(name) for name in wanted]


def warn_of_order(folder: Path, task: TaskConfig) -> None:
    """Warn that outputs without names are taken for those of the task."""
    _log.warning(
        "the outputs of %s have no names and are taken for %s, in this order; if theirs is "
        "another, write the names in id2label of its config.json",
        folder,
        ", ".join(task.tag_names),
    )


def put_on_scale(net: EncoderSubnet, dataset: EncoderDataset, config: EncoderRunConfig) -> None:
    """Where a fine-tuned head tells numbers worse than their mean does, map its answers onto the
    labels by the line of least squares, and say so: training alone would take far more steps.
    """
    head = net.head
    if not isinstance(head, PooledHead) or head.scale is None or not head.out.bias.any():
        return
    rows = np.linspace(0, len(dataset) - 1, min(len(dataset), NUM_TEXTS)).astype(np.int64)
    answers = outputs_of(net, [dataset.ids[i].tolist() for i in rows], dataset.layout)
    found = torch.cat(answers).double().numpy()  # (N,)
    wanted = dataset.labels[rows]  # (N,)
    if np.square(found - wanted).mean() <= wanted.var():
        return
    dx, dy = found - found.mean(), wanted - wanted.mean()
    with torch.no_grad():
        if abs(dx @ dy) <= MIN_CORRELATION * np.sqrt((dx @ dx) * (dy @ dy)):
            _log.warning(
                "the answers of the head in %s have nothing to do with the labels, by %d training "
                "texts: its output is drawn anew",
                config.checkpoint.path,
                len(rows),
            )
            generator = torch.Generator().manual_seed(config.training.seed)
            head.out.weight.normal_(std=OUTPUT_STD, generator=generator)
            head.out.bias.zero_()
            return
        slope = float(dx @ dy / (dx @ dx))
        shift = float(wanted.mean() - slope * found.mean())
        head.out.weight.mul_(slope)
        head.out.bias.mul_(slope).add_(shift)
    _log.warning(
        "the head in %s answers on another scale than that of the labels: put on it as %.4g times "
        "its answer plus %.4g, by %d training texts",
        config.checkpoint.path,
        slope,
        shift,
        len(rows),
    )
