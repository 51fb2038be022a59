import math

import pytest
import torch
from torch import Tensor

from mosdeploy.config.sections import SupernetConfig
from mosdeploy.supernet.mos import (
    ElasticLayer,
    MoSBlock,
    MoSLinear,
    Router,
    ffn_sizes,
)


def two_experts() -> MoSLinear:
    """Two experts, three neurons, two inputs."""
    linear = MoSLinear(in_dim=2, out_dim=3, num_experts=2)
    with torch.no_grad():
        linear.weight.copy_(
            torch.tensor([[[1, 2], [3, 4], [5, 6]], [[10, 20], [30, 40], [50, 60]]])
        )
        linear.bias.copy_(torch.tensor([[1, 2, 3], [-1, -2, -3]]))
    return linear


def test_layer_wise_mix_by_hand() -> None:
    part = two_experts().generate(in_dim=2, out_dim=3, alignment=torch.tensor([[0.25, 0.75]]))
    assert part["weight"].tolist() == [[7.75, 15.5], [23.25, 31.0], [38.75, 46.5]]
    assert part["bias"].tolist() == [-0.5, -1.0, -1.5]


def test_neuron_wise_mix_by_hand() -> None:
    mix = torch.tensor(
        [[1.0, 0.0], [0.5, 0.5]]
    )  # first neuron: expert 0; second: half and half; third not active
    part = two_experts().generate(in_dim=1, out_dim=2, alignment=mix)
    assert part["weight"].tolist() == [[1.0], [16.5]]
    assert part["bias"].tolist() == [1.0, 0.0]


def test_mixing_the_slice_is_slicing_the_mix() -> None:
    torch.manual_seed(0)
    linear = MoSLinear(in_dim=5, out_dim=7, num_experts=3)
    mix = torch.rand(7, 3).softmax(-1)
    whole = linear.generate(5, 7, mix)
    part = linear.generate(2, 4, mix[:4])
    torch.testing.assert_close(part["weight"], whole["weight"][:4, :2])
    torch.testing.assert_close(part["bias"], whole["bias"][:4])


def router(num_rows: int, **config: float) -> Router:
    torch.manual_seed(0)
    return Router(3, num_rows, SupernetConfig(router_hidden_dim=4, **config))


def test_router_by_hand() -> None:
    net = Router(1, 2, SupernetConfig(router_hidden_dim=2))
    with torch.no_grad():
        net.hidden.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        net.hidden.bias.zero_()
        net.out.weight.copy_(torch.tensor([[1.0, 5.0], [0.0, 6.0], [0.0, 7.0], [2.0, 8.0]]))
        net.out.bias.zero_()
        mix = net(
            torch.tensor([math.log(3)]), 2, dropout=False
        )  # hidden: log 3 and, through the ReLU, 0
    torch.testing.assert_close(mix, torch.tensor([[0.75, 0.25], [0.1, 0.9]]))


def test_row_of_a_neuron_is_the_same_in_every_width() -> None:
    net = router(num_rows=6)
    encoding = torch.tensor([0.2, 1.0, 0.5])
    whole = net(encoding, 6, dropout=False)
    torch.testing.assert_close(net(encoding, 4, dropout=False), whole[:4])
    torch.testing.assert_close(whole.sum(1), torch.ones(6))


def test_experts_start_apart_and_mix_to_the_xavier_variance() -> None:
    torch.manual_seed(0)
    linear = MoSLinear(in_dim=200, out_dim=300, num_experts=4)
    assert not torch.equal(linear.weight[0], linear.weight[1])
    even = linear.generate(200, 300, torch.full((1, 4), 0.25))["weight"]
    assert even.std().item() == pytest.approx(math.sqrt(2 / (200 + 300)), rel=0.02)


def generated(ffn: MoSBlock, encoding: Tensor) -> dict[str, Tensor]:
    return ffn.generate(ffn_sizes(dim=3, ffn_dim=4), encoding, router_dropout=False)


@pytest.mark.parametrize(("routing", "num_experts"), [("none", 2), ("layer", 1), ("neuron", 1)])
def test_one_expert_is_slicing(routing: str, num_experts: int) -> None:
    ffn = MoSBlock(ffn_sizes(5, 6), 3, SupernetConfig(routing=routing, num_experts=num_experts))
    assert not [name for name, _ in ffn.named_parameters() if "router" in name]
    part = generated(ffn, torch.rand(3))
    assert torch.equal(part["fc1.weight"], ffn.fc1.weight[0, :4, :3])
    assert torch.equal(part["fc1.bias"], ffn.fc1.bias[0, :4])
    assert torch.equal(part["fc2.weight"], ffn.fc2.weight[0, :3, :4])
    assert torch.equal(part["fc2.bias"], ffn.fc2.bias[0, :3])


def test_layer_routing_is_alike_and_neuron_routing_is_by_row() -> None:
    """Experts of zeros and ones lay the coefficients of the second expert bare."""
    torch.manual_seed(0)
    shares = {}
    for routing in ("layer", "neuron"):
        ffn = MoSBlock(ffn_sizes(5, 6), 3, SupernetConfig(routing=routing, num_experts=2))
        with torch.no_grad():
            for linear in (ffn.fc1, ffn.fc2):
                linear.weight[0] = 0.0
                linear.weight[1] = 1.0
        part = generated(ffn, torch.rand(3))
        shares[routing] = torch.cat(
            (part["fc1.weight"][:, 0], part["fc2.weight"][:, 0])
        )  # (4 + 3,)
        torch.testing.assert_close(part["fc1.weight"], part["fc1.weight"][:, :1].expand(4, 3))
    assert len(set(shares["layer"].tolist())) == 1
    assert len(set(shares["neuron"].tolist())) == 7


@pytest.mark.parametrize("routing", ["none", "layer", "neuron"])
def test_a_started_block_gives_the_weights_at_its_encoding(routing: str) -> None:
    torch.manual_seed(0)
    sizes = ffn_sizes(5, 7)
    config = SupernetConfig(routing=routing, num_experts=3, router_hidden_dim=8)
    block = MoSBlock(sizes, 4, config)
    start = {
        "fc1.weight": torch.randn(7, 5),
        "fc1.bias": torch.randn(7),
        "fc2.weight": torch.randn(5, 7),
        "fc2.bias": torch.randn(5),
    }
    block.start_from(start, torch.ones(4))
    own = block.generate(sizes, torch.ones(4), False)
    other = block.generate(sizes, torch.tensor([1.0, 0.2, 0.0, 0.5]), False)
    for name, weight in start.items():
        torch.testing.assert_close(own[name], weight, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(other[name], weight, atol=0.3, rtol=0.0)
        moved = (other[name] - weight).abs().max() > 1e-4
        assert moved == (routing != "none" and name.endswith("weight"))


def test_experts_start_apart_by_a_share_of_the_weights_spread() -> None:
    torch.manual_seed(0)
    config = SupernetConfig(routing="layer", num_experts=3, router_hidden_dim=8)
    for spread in (0.02, 1.0):
        block = MoSBlock(ffn_sizes(40, 70), 4, config)
        start = {
            "fc1.weight": spread * torch.randn(70, 40),
            "fc1.bias": torch.zeros(70),
            "fc2.weight": spread * torch.randn(40, 70),
            "fc2.bias": torch.zeros(40),
        }
        block.start_from(start, torch.ones(4))
        for linear in (block.fc1, block.fc2):
            apart = (linear.weight[1] - linear.weight[0]).std().item()
            assert apart == pytest.approx(0.05 * spread, rel=0.1)


CONFIG = SupernetConfig(router_hidden_dim=4)


def test_attention_is_sliced_and_only_the_ffn_is_routed() -> None:
    layer = ElasticLayer(6, 8, 9, encoding_dim=3, config=CONFIG)
    first = layer.generate(4, 8, 5, torch.zeros(3), False)
    second = layer.generate(4, 8, 5, torch.ones(3), False)
    differing = {name for name in first if not torch.equal(first[name], second[name])}
    assert differing == {"fc1.weight", "fc2.weight"}  # biases start at zero in every expert
