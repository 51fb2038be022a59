import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from supernet_fixtures import TOY_SPACE, TOY_VOCAB_SIZE, toy_supernet
from training_fixtures import random_rows

from mosdeploy.data.batches import ordered_batches
from mosdeploy.errors import ConfigError
from mosdeploy.supernet.supernet import extract
from mosdeploy.training.validation import validation_loss

DATASET = random_rows(20, TOY_VOCAB_SIZE)


def test_supernet_and_extracted_subnet_agree() -> None:
    net = toy_supernet()
    batches = ordered_batches(DATASET, 100)
    for arch in (TOY_SPACE.largest, TOY_SPACE.smallest):
        inherited = validation_loss(extract(net, arch), batches)
        assert validation_loss(net, batches, arch) == pytest.approx(inherited, rel=1e-5)
    assert net.training


def test_padding_does_not_count() -> None:
    subnet = extract(toy_supernet(), TOY_SPACE.largest)
    losses = [validation_loss(subnet, ordered_batches(DATASET, size)) for size in (30, 90, 1000)]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


def test_it_is_the_mean_of_the_losses_of_examples() -> None:
    subnet = extract(toy_supernet(), TOY_SPACE.largest)
    batch = DATASET.batch(np.arange(len(DATASET)))
    with torch.no_grad():
        nats = batch.losses(subnet(*batch.inputs())).sum().item()
    assert validation_loss(subnet, [batch]) == pytest.approx(nats / batch.num_targets, rel=1e-6)


def test_knowing_nothing_costs_the_log_of_the_vocabulary() -> None:
    subnet = extract(toy_supernet(), TOY_SPACE.largest)
    with torch.no_grad():
        subnet.embed.weight.zero_()
    loss = validation_loss(subnet, ordered_batches(DATASET, 100))
    assert loss == pytest.approx(math.log(TOY_VOCAB_SIZE))


def test_targets_that_are_nowhere_are_said_to_be() -> None:
    subnet = extract(toy_supernet(), TOY_SPACE.largest)
    batch = replace(DATASET.batch(np.arange(2)), num_targets=0)
    with pytest.raises(ConfigError, match="nothing to predict"):
        validation_loss(subnet, [batch])


def test_ambiguous_calls_are_refused() -> None:
    net = toy_supernet()
    subnet = extract(net, TOY_SPACE.largest)
    batches = ordered_batches(DATASET, 100)
    for model, parts, arch in (
        (net, batches, None),
        (subnet, batches, TOY_SPACE.largest),
        (subnet, [], None),
    ):
        with pytest.raises(ValueError, match="validation_loss needs"):
            validation_loss(model, parts, arch)
