"""One supernet for many tasks: its body, with a head for another task."""

from collections.abc import Sequence

import torch

from ...config.encoder import AGNOSTIC, EncoderRunConfig, TaskKind
from ...errors import ConfigError
from ...supernet.supernet import Supernet
from .dataset import label_array
from .elastic import fit_scale, fresh_supernet
from .examples import Example

SERVED: tuple[TaskKind, ...] = ("classification", "regression", "tagging")
"""Kinds that are learned from labels."""

_HEAD = "network.head."


def serve_task(
    net: Supernet,
    trained: EncoderRunConfig,
    config: EncoderRunConfig,
    seed: int,
    examples: Sequence[Example],
) -> Supernet:
    """Give a supernet the head of another task."""
    kinds = (trained.task.kind, config.task.kind)
    if kinds[0] not in AGNOSTIC:
        raise ConfigError(
            f"the supernet was trained for one {kinds[0]}; only those of "
            f"{' and '.join(AGNOSTIC)} serve other tasks"
        )
    if kinds[1] not in SERVED:
        raise ConfigError(
            f"task.kind of a served task is one of {', '.join(SERVED)}, not {kinds[1]}"
        )
    served = fresh_supernet(config.space, net.vocab_size, config.supernet, seed)
    weights = served.state_dict()
    body = {name: x for name, x in net.state_dict().items() if not name.startswith(_HEAD)}
    with torch.no_grad():
        # strict: a weight of the body that is missing would stay random
        served.load_state_dict({k: x for k, x in weights.items() if k.startswith(_HEAD)} | body)
    fit_scale(served, label_array(examples))
    return served.eval()
