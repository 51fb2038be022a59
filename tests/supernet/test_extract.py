import copy

import numpy as np
import pytest
import torch
from supernet_fixtures import TOY_SPACE, toy_ids, toy_supernet

from mosdeploy.supernet.extract import extract


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
