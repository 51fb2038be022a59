import copy

import pytest
import torch
from supernet_fixtures import archs, prev, space, src  # noqa: F401
from torch import Tensor

from mosdeploy.config.sections import SupernetConfig
from mosdeploy.families.translation.elastic import ElasticTranslation, fresh_subnet, fresh_supernet
from mosdeploy.spaces.spec import ModelSpec
from mosdeploy.spaces.translation import TranslationArch, TranslationSpace, TranslationWorkload
from mosdeploy.supernet.supernet import Supernet, extract

VOCAB_SIZE = 20


def built(space: TranslationSpace, **config: object) -> Supernet:
    sections = SupernetConfig(**{"router_hidden_dim": 16, **config})
    net = fresh_supernet(space, VOCAB_SIZE, sections, seed=5)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net


ROUTINGS = ["none", "layer", "neuron"]


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("routing", ROUTINGS)
def test_a_subnet_computes_what_its_supernet_computes(
    space: TranslationSpace,
    archs: list[TranslationArch],
    src: Tensor,
    prev: Tensor,
    routing: str,
    norm: str,
) -> None:
    space = space.model_copy(update={"norm": norm})
    spec = ModelSpec(space, VOCAB_SIZE, TranslationWorkload())
    net = built(space, routing=routing, num_experts=3)
    for arch in archs:
        subnet = extract(net, arch)  # while the supernet is in training mode
        with torch.no_grad():
            logits = copy.deepcopy(net).eval()((src, prev), arch)
            torch.testing.assert_close(subnet(src, prev), logits, atol=1e-5, rtol=1e-5)
        assert sum(x.numel() for x in subnet.state_dict().values()) == spec.num_parameters(arch)


def test_heads_and_spans_change_the_result_but_no_weight(
    space: TranslationSpace, src: Tensor, prev: Tensor
) -> None:
    net = built(space, routing="none").eval()
    layers = tuple(
        x.model_copy(update={"cross_span": 1, "cross_heads": 1})
        for x in space.largest.decoder_layers
    )
    other = space.largest.model_copy(update={"decoder_layers": layers})
    first = net.generate(space.largest, False)
    second = net.generate(other, False)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.allclose(net((src, prev), space.largest), net((src, prev), other))


def test_gradient_keeps_out_of_what_is_not_used(
    space: TranslationSpace, src: Tensor, prev: Tensor
) -> None:
    net = built(space, routing="neuron")
    net((src, prev), space.smallest).sum().backward()
    first = net.network.encoder_layers[0].ffn.fc1.weight.grad  # (m, 16, 12)
    assert first[:, :5, :8].abs().sum() > 0
    assert first[:, 5:].abs().sum() == 0
    assert first[:, :, 8:].abs().sum() == 0
    assert all(parameter.grad is None for parameter in net.network.encoder_layers[1].parameters())


@pytest.mark.parametrize("routing", ["none", "layer", "neuron"])
def test_the_order_of_parameters_is_that_of_older_states(
    space: TranslationSpace, routing: str
) -> None:
    """Optimiser states go by the order, and initial weights by that of the draws."""
    config = SupernetConfig(routing=routing, router_hidden_dim=8)
    net = ElasticTranslation(space, 20, config)
    attention = [f"{name}.{kind}" for name in ("q", "k", "v", "out") for kind in ("weight", "bias")]
    norm = ["weight", "bias"]
    ffn = ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    routers = {"none": [], "layer": ["layer_router"], "neuron": ["fc1_router", "fc2_router"]}
    ffn += [
        f"{name}.{part}.{kind}"
        for name in routers[routing]
        for part in ("hidden", "out")
        for kind in ("weight", "bias")
    ]
    parts = {"self_attn": attention, "self_attn_norm": norm, "ffn": ffn, "ffn_norm": norm}
    expected = [
        f"encoder_layers.0.{part}.{name}" for part, names in parts.items() for name in names
    ]
    names = [name for name, _ in net.named_parameters()]
    assert [name for name in names if name.startswith("encoder_layers.0.")] == expected
    tops = list(dict.fromkeys(name.split(".")[0] for name in names))
    assert tops == ["embed", "encoder_layers", "decoder_layers", "encoder_norm", "decoder_norm"]


def test_fresh_networks_are_those_of_their_seed(space: TranslationSpace) -> None:
    state = torch.get_rng_state()
    config = SupernetConfig()
    for fresh in (
        lambda seed: fresh_supernet(space, VOCAB_SIZE, config, seed),
        lambda seed: fresh_subnet(space.smallest, space, VOCAB_SIZE, config, seed),
    ):
        first, again, other = (list(fresh(seed).parameters()) for seed in (1, 1, 2))
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert not torch.equal(first[0], other[0])
    assert torch.equal(torch.get_rng_state(), state)
