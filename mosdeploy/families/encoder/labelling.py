"""Outputs of a teacher for all texts that others learn from.

In: a network and texts as token ids. Out: its outputs, computed where and in the precision that
[training] names; `amp = "auto"` takes the faster one on a CPU, as a training does.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor

from ...config.sections import TrainingConfig
from ...data.ragged import Ragged
from ...supernet.elastic import Subnet
from ...training.device import DeviceContext
from ...training.precision import DTYPES, fastest
from .dataset import BatchLayout
from .scoring import BATCH_TEXTS, outputs_of

TRIAL_TEXTS = 2 * BATCH_TEXTS


def label_texts(
    network: Subnet, ids: Ragged, layout: BatchLayout, training: TrainingConfig
) -> list[Tensor]:
    """Outputs for each text: (C,), of its pieces (length, C), or (d,); float32.

    The network is left on the CPU.
    """
    texts = [ids[i].tolist() for i in range(len(ids))]
    context = DeviceContext.of(training)
    if training.amp == "auto" and context.device.type == "cpu" and len(texts) > 2 * TRIAL_TEXTS:
        sample = texts[:TRIAL_TEXTS]
        contexts = {amp: replace(context, dtype=dtype) for amp, dtype in DTYPES.items()}
        trial = fastest(
            {amp: partial(_outputs, network, sample, layout, x) for amp, x in contexts.items()}
        )
        context = replace(context, dtype=trial.dtype)
    network.to(context.device)
    found = _outputs(network, texts, layout, context)
    network.to("cpu")
    return found


def _outputs(
    network: Subnet,
    texts: Sequence[Sequence[int]],
    layout: BatchLayout,
    context: DeviceContext,
) -> list[Tensor]:
    with context.autocast():
        return outputs_of(network, texts, layout)
