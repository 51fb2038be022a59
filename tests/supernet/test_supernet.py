import copy

import numpy as np
import pytest
import torch
from supernet_fixtures import TOY_SPACE, toy_ids, toy_supernet
from torch.nn import functional as F
from toy_family.words import CipherArch, CipherLayer

from mosdeploy.config import load_recipe
from mosdeploy.errors import ArchError, MosdeployError
from mosdeploy.supernet.supernet import extract, memory_errors


def test_given_weights_are_used_and_get_the_gradient() -> None:
    net = toy_supernet(dropout=0.0)
    weights = {
        name: weight.detach().requires_grad_()
        for name, weight in net.generate(TOY_SPACE.smallest, router_dropout=False).items()
    }
    net((toy_ids(),), TOY_SPACE.smallest, weights).sum().backward()
    assert all(weight.grad is not None for weight in weights.values())
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("routing", ["layer", "neuron"])
def test_gradient_reaches_every_expert_and_router(routing: str) -> None:
    net = toy_supernet(routing=routing, num_experts=3, dropout=0.0)
    logits = net((toy_ids(),), TOY_SPACE.largest)
    F.cross_entropy(logits.flatten(0, 1), toy_ids().flatten()).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        if name.endswith(("fc1.weight", "fc2.weight", "fc1.bias", "fc2.bias")):
            assert (parameter.grad.flatten(1).abs().sum(1) > 0).all(), name  # each expert
        else:
            assert parameter.grad.abs().sum() > 0, name


def test_equal_architectures_are_one_whatever_ran_between() -> None:
    net = toy_supernet().eval()
    arch = TOY_SPACE.sample(np.random.default_rng(4))
    twin = CipherArch.model_validate_json(arch.model_dump_json())
    first = net((toy_ids(),), arch)
    net((toy_ids(),), TOY_SPACE.largest)
    assert torch.equal(net((toy_ids(),), twin), first)
    assert torch.equal(net.encode(twin), net.encode(arch))


def test_eval_draws_nothing_and_training_drops_out() -> None:
    net = toy_supernet(dropout=0.3)
    inputs = (toy_ids(),)
    assert not torch.equal(net(inputs, TOY_SPACE.largest), net(inputs, TOY_SPACE.largest))
    net.eval()
    state = torch.get_rng_state()
    assert torch.equal(net(inputs, TOY_SPACE.largest), net(inputs, TOY_SPACE.largest))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("routing", ["none", "layer", "neuron"])
def test_weights_are_of_full_precision_under_autocast(routing: str) -> None:
    net = toy_supernet(routing=routing)
    plain = net.generate(TOY_SPACE.largest, False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = net.generate(TOY_SPACE.largest, False)
    assert all(torch.equal(plain[name], mixed[name]) for name in plain)


def test_an_architecture_outside_the_space_is_refused() -> None:
    net = toy_supernet()
    wrong = CipherArch(width=4, layers=(CipherLayer(hidden=4),))
    for call in (
        lambda: net((toy_ids(),), wrong),
        lambda: net.generate(wrong, False),
        lambda: extract(net, wrong),
    ):
        with pytest.raises(ArchError, match=r"layers\.0\.hidden is 4, allowed: \[3, 5, 8\]"):
            call()


@pytest.mark.parametrize("routing", ["none", "layer", "neuron"])
def test_a_subnet_computes_what_its_supernet_computes(routing: str) -> None:
    net = toy_supernet(routing=routing, num_experts=3)
    rng = np.random.default_rng(0)
    for arch in [TOY_SPACE.largest, TOY_SPACE.smallest, *(TOY_SPACE.sample(rng) for _ in range(5))]:
        subnet = extract(net, arch)  # while the supernet is in training mode
        assert subnet.arch == arch
        with torch.no_grad():
            wanted = copy.deepcopy(net).eval()((toy_ids(),), arch)
            torch.testing.assert_close(subnet(toy_ids()), wanted)


def test_extracting_leaves_the_supernet_alone() -> None:
    net = toy_supernet()
    before = copy.deepcopy(net.state_dict())
    random_state = torch.get_rng_state()
    subnet = extract(net, TOY_SPACE.largest)
    assert all(module.training for module in net.modules())
    assert not subnet.training
    assert torch.equal(torch.get_rng_state(), random_state)
    subnet(toy_ids()).sum().backward()  # it can be trained further
    with torch.no_grad():
        for parameter in subnet.parameters():
            assert parameter.is_contiguous()
            parameter.zero_()
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_the_widths_of_a_network_without_memory_are_told() -> None:
    told = r"up to encoder_embed_dim = 128, .*qkv_dim = 128; give smaller ones: .*--dry-run"
    with pytest.raises(MosdeployError, match=told), memory_errors(load_recipe("tiny").space):
        torch.empty(2**56)
