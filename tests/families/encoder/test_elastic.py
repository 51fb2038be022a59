import copy

import pytest
import torch
from encoder_networks import HEADS, VOCAB_SIZE, shake, small_space, some_archs, texts
from torch.nn import functional as F

from mosdeploy.config.sections import SupernetConfig
from mosdeploy.errors import ConfigError
from mosdeploy.families.encoder.elastic import (
    fresh_subnet,
    fresh_supernet,
    sliced_subnet,
    teacher_network,
)
from mosdeploy.families.encoder.network import EncoderSubnet
from mosdeploy.spaces.encoder import EncoderSpace, EncoderWorkload
from mosdeploy.spaces.spec import ModelSpec
from mosdeploy.supernet.supernet import Supernet, extract

ROUTINGS = ["none", "layer", "neuron"]
SPACES = [
    *({"head": head} for head in HEADS),
    {"head": "masked-lm", "table_dim": 6},
    {"head_dim": None},  # heads share the width
    {"ffn_ratio": (0.5, 1.5, 2), "ffn_dim": (), "head_dim": None},
    {"embed_dim": (12,), "layer_dim": (4, 8, 12), "head_dim": None},
]


def built(space: EncoderSpace, **config: object) -> Supernet:
    sections = SupernetConfig(**{"router_hidden_dim": 16, **config})
    net = fresh_supernet(space, VOCAB_SIZE, sections, seed=5)
    shake(net)
    return net


def a_teacher(space: EncoderSpace) -> EncoderSubnet:
    torch.manual_seed(2)
    teacher = EncoderSubnet(space.largest, space, VOCAB_SIZE)
    shake(teacher)
    return teacher.eval()


@pytest.mark.parametrize("changes", SPACES, ids=str)
@pytest.mark.parametrize("routing", ROUTINGS)
def test_a_subnet_computes_what_its_supernet_computes(
    routing: str, changes: dict[str, object]
) -> None:
    space = small_space(**changes)
    spec = ModelSpec(space, VOCAB_SIZE, EncoderWorkload())
    net = built(space, routing=routing, num_experts=3)
    inputs = texts()
    for arch in some_archs(space):
        subnet = extract(net, arch)  # while the supernet is in training mode
        with torch.no_grad():
            logits = copy.deepcopy(net).eval()(inputs, arch)
            torch.testing.assert_close(subnet(*inputs), logits, atol=1e-5, rtol=1e-5)
        assert sum(x.numel() for x in subnet.state_dict().values()) == spec.num_parameters(arch)


@pytest.mark.parametrize("changes", SPACES, ids=str)
@pytest.mark.parametrize("routing", ROUTINGS)
def test_the_largest_architecture_starts_as_the_teacher(
    routing: str, changes: dict[str, object]
) -> None:
    space = small_space(**changes)
    teacher = a_teacher(space)
    config = SupernetConfig(routing=routing, num_experts=3)
    net = fresh_supernet(space, VOCAB_SIZE, config, 1, start=teacher.state_dict()).eval()
    weights = net.generate(space.largest, router_dropout=False)
    assert weights.keys() == teacher.state_dict().keys()
    for name, expected in teacher.state_dict().items():
        torch.testing.assert_close(weights[name], expected, atol=1e-6, rtol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(
            net(texts(), space.largest), teacher(*texts()), atol=1e-5, rtol=1e-5
        )


def test_bottlenecks_change_nothing_at_the_start() -> None:
    """A checkpoint has none: the largest layers, as wide as the states, compute what it does."""
    plain = small_space(embed_dim=(12,), head_dim=None)
    checkpoint = a_teacher(plain).state_dict()
    space = small_space(embed_dim=(12,), head_dim=None, layer_dim=(4, 8, 12))
    teacher = teacher_network(space, VOCAB_SIZE, SupernetConfig(), checkpoint, 1).eval()
    with torch.no_grad():
        found = teacher(*texts())
        torch.testing.assert_close(found, a_teacher(plain)(*texts()), atol=1e-6, rtol=1e-6)
    net = sliced_subnet(space.smallest, space, VOCAB_SIZE, SupernetConfig(), teacher.state_dict())
    own = net.state_dict()
    assert torch.equal(own["layers.0.narrow.weight"], torch.eye(12)[:4])
    assert torch.equal(own["layers.0.widen.weight"], torch.eye(12)[:, :4])
    assert torch.equal(own["layers.0.fc1.weight"], checkpoint["layers.0.fc1.weight"][:5, :4])


def test_a_sliced_subnet_has_the_first_heads_and_neurons() -> None:
    space = small_space()
    teacher = a_teacher(space)
    start = teacher.state_dict()
    net = sliced_subnet(space.smallest, space, VOCAB_SIZE, SupernetConfig(dropout=0.3), start)
    own = net.state_dict()  # one layer; width 8 of 12, 1 head of 4 columns, FFN 5 of 16
    name = "layers.0.self_attn"
    assert torch.equal(own[f"{name}.q.weight"], start[f"{name}.q.weight"][:4, :8])
    assert torch.equal(own[f"{name}.out.weight"], start[f"{name}.out.weight"][:8, :4])
    assert torch.equal(own["layers.0.fc1.weight"], start["layers.0.fc1.weight"][:5, :8])
    assert torch.equal(own["embed.weight"], start["embed.weight"][:, :8])
    assert not any(name.startswith("layers.1") for name in own)
    whole = sliced_subnet(space.largest, space, VOCAB_SIZE, SupernetConfig(), start)
    assert all(torch.equal(whole.state_dict()[name], x) for name, x in start.items())
    with torch.no_grad():
        next(whole.parameters()).zero_()
    assert start["embed.weight"].abs().sum() > 0


@pytest.mark.parametrize("routing", ["layer", "neuron"])
def test_gradient_reaches_every_weight_expert_and_router(routing: str) -> None:
    space = small_space()
    teacher = a_teacher(space).state_dict()
    config = SupernetConfig(routing=routing, num_experts=3, dropout=0.0)
    net = fresh_supernet(space, VOCAB_SIZE, config, 1, start=teacher)
    F.cross_entropy(net(texts(), space.largest), torch.tensor([0, 2, 1])).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        if name.endswith("k.bias"):
            continue  # a bias of the keys shifts all scores alike: the softmax is blind to it
        if parameter.ndim == 3:
            assert (parameter.grad.flatten(1).abs().sum(1) > 0).all(), name  # each expert
        assert parameter.grad.abs().sum() > 0, name


def test_fresh_networks_are_those_of_their_seed() -> None:
    space = small_space()
    state = torch.get_rng_state()
    config = SupernetConfig()
    start = a_teacher(space).state_dict()
    torch.set_rng_state(state)
    for fresh in (
        lambda seed: fresh_supernet(space, VOCAB_SIZE, config, seed),
        lambda seed: fresh_supernet(space, VOCAB_SIZE, config, seed, start=start),
        lambda seed: fresh_subnet(space.smallest, space, VOCAB_SIZE, config, seed),
        lambda seed: teacher_network(space, VOCAB_SIZE, config, headless(start), seed),
    ):
        first, again, other = (list(fresh(seed).parameters()) for seed in (1, 1, 2))
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def headless(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: x for name, x in weights.items() if not name.startswith("head.out")}


def test_a_teacher_has_the_weights_of_its_checkpoint() -> None:
    space = small_space()
    weights = headless(a_teacher(space).state_dict())
    weights["head.out.weight"] = torch.zeros(7, 12)  # seven classes where the task has three
    weights["more"] = torch.zeros(1)
    net = teacher_network(space, VOCAB_SIZE, SupernetConfig(), weights, seed=1)
    own = net.state_dict()
    kept = headless(weights).keys() - {"more"}
    assert kept <= own.keys()
    assert all(torch.equal(own[name], weights[name]) for name in kept)
    assert own["head.out.weight"].shape == (3, 12)
    assert own["head.out.weight"].abs().sum() > 0


def test_weights_of_another_network_are_refused() -> None:
    space = small_space()
    weights = a_teacher(space).state_dict()
    weights["embed.weight"] = torch.zeros(29, 12)
    with pytest.raises(ConfigError, match=r"embed.weight is \[29, 12\], needed is \[30, 12\]"):
        teacher_network(space, VOCAB_SIZE, SupernetConfig(), weights, seed=1)
