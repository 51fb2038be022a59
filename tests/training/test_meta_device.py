"""Whatever a step computes lies on the device of its network: on torch's device `meta`, which has
shapes and no values, a tensor that stayed on the CPU is an error, as on a GPU.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.fx.experimental._config
from encoder_task import encoder_config
from torch import Tensor

from mosdeploy.config import load_recipe
from mosdeploy.config.sections import TrainingConfig
from mosdeploy.data.batches import Batches, Dataset
from mosdeploy.families.encoder import dataset as encoder_data
from mosdeploy.families.encoder import elastic as encoder
from mosdeploy.families.translation import dataset as translation_data
from mosdeploy.families.translation import elastic as translation
from mosdeploy.supernet.elastic import Subnet
from mosdeploy.supernet.supernet import Supernet
from mosdeploy.training.device import DeviceContext
from mosdeploy.training.distributed import DistributedContext
from mosdeploy.training.gradient import Distillation, Gradient
from mosdeploy.training.trainer import validation_loss

META = torch.device("meta")
TINY = load_recipe("tiny")
PAIRS = translation_data.made_up_dataset(100, 7, 64)
Made = tuple[Supernet | Subnet, TrainingConfig, Dataset, Any]


@pytest.fixture(autouse=True)
def no_values(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What asks for values gets some; what depends on their number takes all for true."""
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(Tensor, "item", lambda self: 1.0)
    monkeypatch.setattr(Tensor, "__bool__", lambda self: False)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    with torch.fx.experimental._config.patch(meta_nonzero_assume_all_nonzero=True):
        yield


def translation_supernet(routing: str) -> Made:
    config = TINY.supernet.model_copy(update={"routing": routing})
    net = translation.fresh_supernet(TINY.space, 100, config, seed=1)
    return net, TINY.training, PAIRS, None


def taught_translation() -> Made:
    largest, smallest = (
        translation.fresh_subnet(arch, TINY.space, 100, TINY.supernet, seed=1)
        for arch in (TINY.space.largest, TINY.space.smallest)
    )
    return smallest, TINY.training, PAIRS, Distillation(largest, 0.5)


def encoders(kind: str) -> Made:
    labels = {"labels": ["O", "B-x"]} if kind == "tagging" else {}
    config = encoder_config(kind=kind, **labels)
    net = encoder.fresh_supernet(config.space, config.vocab_size, config.supernet, seed=1)
    return net, config.training, encoder_data.made_up_dataset(config), None


MAKERS: dict[str, Callable[[], Made]] = {
    **{x: (lambda x=x: translation_supernet(x)) for x in ("none", "layer", "neuron")},
    "taught": taught_translation,
    **{
        x: (lambda x=x: encoders(x))
        for x in ("classification", "regression", "tagging", "masked-lm", "embedding")
    },
}


@pytest.mark.parametrize("name", MAKERS)
def test_gradients_and_losses_are_on_the_device_of_the_network(name: str) -> None:
    net, config, examples, distillation = MAKERS[name]()
    net.to(META)
    batches = Batches(examples, config.tokens_per_batch, config.seed)
    gradient = Gradient(
        net,
        config,
        DeviceContext(META, torch.float32),
        torch.amp.GradScaler("cpu", enabled=False),
        DistributedContext(),
        distillation,
    )
    gradient.add_up(batches, 1)
    devices = {p.grad.device for p in net.parameters() if p.grad is not None}
    assert devices == {META}
    largest = net.space.largest if isinstance(net, Supernet) else None
    assert validation_loss(net, [batches[0]], largest) == 1.0 / batches.num_targets(0)
