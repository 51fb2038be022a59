"""The head that a checkpoint was fine-tuned with, as a regression takes it over."""

import logging

import numpy as np
import torch

from ...config.encoder import EncoderRunConfig
from .dataset import EncoderDataset
from .network import OUTPUT_STD, EncoderSubnet, PooledHead
from .scoring import outputs_of

_log = logging.getLogger(__name__)

NUM_TEXTS = 256
"""Training texts that a head answers: enough to tell whether it knows anything of their labels."""

MIN_CORRELATION = 0.2
"""Below, and above its negative, it knows nothing; three standard deviations of chance."""


def put_on_scale(net: EncoderSubnet, dataset: EncoderDataset, config: EncoderRunConfig) -> None:
    """Where a head that was trained before tells numbers worse than their mean does, map its
    answers onto the labels by the line of least squares, and say so: training alone would take
    far more steps.
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
    told, asked = found - found.mean(), wanted - wanted.mean()
    size = np.sqrt((told @ told) * (asked @ asked))
    with torch.no_grad():
        if abs(told @ asked) <= MIN_CORRELATION * size:
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
        slope = float(told @ asked / (told @ told))
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
