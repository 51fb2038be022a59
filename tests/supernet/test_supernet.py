import copy

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mosdeploy.config.sections import SupernetConfig
from mosdeploy.errors import ArchError
from mosdeploy.families.translation.network import extract
from mosdeploy.spaces.costs import num_parameters
from mosdeploy.spaces.translation import TranslationArch, TranslationSpace
from mosdeploy.supernet.supernet import Supernet

VOCAB_SIZE = 20


def built(space: TranslationSpace, **config: object) -> Supernet:
    torch.manual_seed(5)
    net = Supernet(space, VOCAB_SIZE, SupernetConfig(router_hidden_dim=16, **config))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


VARIANTS = [
    {"routing": "none"},
    *(
        {"routing": routing, "router_input": seen}
        for routing in ("layer", "neuron")
        for seen in ("per_layer", "aggregated")
    ),
    *({"routing": routing, "expert_rank": 2} for routing in ("layer", "neuron")),
]


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize(
    "variant", VARIANTS, ids=lambda variant: "-".join(map(str, variant.values()))
)
def test_the_extracted_subnet_computes_what_the_supernet_computes(
    space: TranslationSpace,
    archs: list[TranslationArch],
    src: Tensor,
    prev: Tensor,
    variant: dict[str, object],
    norm: str,
) -> None:
    space = space.model_copy(update={"norm": norm})
    net = built(space, **variant, num_experts=3)
    for arch in archs:
        subnet = extract(net, arch)  # while the supernet is in training mode
        with torch.no_grad():
            logits = copy.deepcopy(net).eval()(src, prev, arch)
            torch.testing.assert_close(subnet(src, prev), logits, atol=1e-5, rtol=1e-5)
        assert sum(x.numel() for x in subnet.state_dict().values()) == num_parameters(
            space, arch, VOCAB_SIZE
        )


def test_weights_are_generated_once_until_a_parameter_changes(
    space: TranslationSpace, src: Tensor, prev: Tensor
) -> None:
    net = built(space, num_experts=2).eval()
    calls, generate = [], net.generate
    net.generate = lambda arch, router_dropout: calls.append(arch) or generate(arch, router_dropout)  # type: ignore[method-assign]
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1, fused=True)
    with torch.no_grad():
        first = net(src, prev, space.largest)
        assert torch.equal(net(src, prev, space.largest), first)
        assert len(calls) == 1
    net(src, prev, space.largest).sum().backward()  # with gradients nothing is kept, nor taken
    assert len(calls) == 2
    optimizer.step()
    with torch.no_grad():
        assert not torch.equal(net(src, prev, space.largest), first)
        net(src, prev, space.smallest)
        second = net(src, prev, space.largest)
        assert len(calls) == 5
        net.load_state_dict({name: value + 0.01 for name, value in net.state_dict().items()})
        assert not torch.equal(net(src, prev, space.largest), second)
        net.load_state_dict(
            {name: value + 0.01 for name, value in net.state_dict().items()}, assign=True
        )
        net(src, prev, space.largest)
    assert len(calls) == 7


def test_extracting_leaves_the_supernet_alone(
    space: TranslationSpace, src: Tensor, prev: Tensor
) -> None:
    net = built(space)
    before, random_state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    subnet = extract(net, space.largest)
    assert net.training
    assert all(module.training for module in net.modules())
    assert not subnet.training
    assert torch.equal(torch.get_rng_state(), random_state)
    subnet(src, prev).sum().backward()  # it can be trained further
    with torch.no_grad():
        for parameter in subnet.parameters():
            assert parameter.is_contiguous()
            parameter.zero_()
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize("routing", ["layer", "neuron"])
def test_one_expert_equals_the_ordinary_supernet(
    space: TranslationSpace, archs: list[TranslationArch], src: Tensor, prev: Tensor, routing: str
) -> None:
    plain, single = (
        built(space, routing="none").eval(),
        built(space, routing=routing, num_experts=1).eval(),
    )
    assert plain.state_dict().keys() == single.state_dict().keys()
    for arch in archs:
        assert torch.equal(plain(src, prev, arch), single(src, prev, arch))


def test_without_routing_weights_are_slices_of_the_largest(space: TranslationSpace) -> None:
    net = built(space, routing="none")
    largest, smallest = net.generate(space.largest, False), net.generate(space.smallest, False)
    assert smallest.keys() < largest.keys()
    for name, part in smallest.items():
        whole = largest[name][tuple(slice(n) for n in part.shape)]
        assert torch.equal(part, whole), name
        assert part.data_ptr() == largest[name].data_ptr(), name  # a view, not a copy


def test_heads_and_spans_change_the_result_but_no_weight(
    space: TranslationSpace, src: Tensor, prev: Tensor
) -> None:
    net = built(space, routing="none").eval()
    layers = tuple(
        x.model_copy(update={"cross_span": 1, "cross_heads": 1})
        for x in space.largest.decoder_layers
    )
    other = space.largest.model_copy(update={"decoder_layers": layers})
    first, second = net.generate(space.largest, False), net.generate(other, False)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.allclose(net(src, prev, space.largest), net(src, prev, other))


@pytest.mark.parametrize("routing", ["layer", "neuron"])
def test_gradient_reaches_every_weight_expert_and_router(
    space: TranslationSpace, src: Tensor, prev: Tensor, routing: str
) -> None:
    net = built(space, routing=routing, num_experts=3, router_dropout=0.0, dropout=0.0)
    logits = net(src, prev, space.largest)
    F.cross_entropy(logits.flatten(0, 1), torch.randint(4, VOCAB_SIZE, (prev.numel(),))).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        if name.endswith(("fc1.weight", "fc2.weight", "fc1.bias", "fc2.bias")):
            assert (parameter.grad.flatten(1).abs().sum(1) > 0).all(), name  # each expert
        elif not name.endswith(
            "k.bias"
        ):  # a bias of the keys shifts all scores alike: the softmax is blind to it
            assert parameter.grad.abs().sum() > 0, name


def test_gradient_keeps_out_of_what_a_small_architecture_does_not_use(
    space: TranslationSpace, src: Tensor, prev: Tensor
) -> None:
    net = built(space, routing="neuron")
    net(src, prev, space.smallest).sum().backward()
    first = net.encoder_layers[0].ffn.fc1.weight.grad  # (m, 16, 12)
    assert first[:, :5, :8].abs().sum() > 0
    assert first[:, 5:].abs().sum() == 0
    assert first[:, :, 8:].abs().sum() == 0
    assert all(parameter.grad is None for parameter in net.encoder_layers[1].parameters())


def test_the_same_weights_differ_between_architectures_only_when_routed(
    space: TranslationSpace,
) -> None:
    """Two architectures with equal FFN shapes in layer 0: routing sees the rest of the
    architecture.
    """
    other = space.largest.model_copy(update={"decoder_layers": space.largest.decoder_layers[:1]})
    for routing, alike in (("none", True), ("layer", False), ("neuron", False)):
        net = built(space, routing=routing)
        name = "encoder.layers.0.fc1.weight"
        first, second = net.generate(space.largest, False)[name], net.generate(other, False)[name]
        assert torch.equal(first, second) == alike


def test_router_input_is_scaled_and_per_layer_tells_equal_means_apart(
    space: TranslationSpace,
) -> None:
    per_layer, aggregated = (
        built(space, router_input="per_layer"),
        built(space, router_input="aggregated"),
    )
    np.testing.assert_allclose(per_layer.encode(space.largest), np.ones(space.num_genes))
    np.testing.assert_allclose(aggregated.encode(space.largest), np.ones(10))
    assert (aggregated.encode(space.smallest) > 0).all()
    one, two = space.largest.decoder_layers
    narrow = two.model_copy(update={"ffn_dim": 7})
    first = space.largest.model_copy(update={"decoder_layers": (one, narrow)})
    second = space.largest.model_copy(update={"decoder_layers": (narrow, one)})
    assert torch.equal(aggregated.encode(first), aggregated.encode(second))
    assert not torch.equal(per_layer.encode(first), per_layer.encode(second))


def test_equal_architectures_are_one_whatever_ran_between(
    space: TranslationSpace, src: Tensor, prev: Tensor
) -> None:
    net = built(space).eval()
    arch = space.sample(np.random.default_rng(4))
    twin = TranslationArch.model_validate_json(arch.model_dump_json())
    assert hash(twin) == hash(arch)
    first = net(src, prev, arch)
    net(src, prev, space.largest)
    assert torch.equal(net(src, prev, twin), first)
    assert torch.equal(net.encode(twin), net.encode(arch))


def test_eval_draws_nothing_and_training_drops_out(
    space: TranslationSpace, src: Tensor, prev: Tensor
) -> None:
    net = built(space, dropout=0.0, router_dropout=0.5)
    assert not torch.equal(net(src, prev, space.largest), net(src, prev, space.largest))
    net.eval()
    state = torch.get_rng_state()
    assert torch.equal(net(src, prev, space.largest), net(src, prev, space.largest))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("routing", ["none", "layer", "neuron"])
def test_weights_are_generated_in_full_precision_under_autocast(
    space: TranslationSpace, routing: str
) -> None:
    net = built(space, routing=routing)
    plain = net.generate(space.largest, False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = net.generate(space.largest, False)
    assert all(torch.equal(plain[name], mixed[name]) for name in plain)


def test_an_architecture_outside_the_space_is_refused(
    space: TranslationSpace, src: Tensor, prev: Tensor
) -> None:
    net = built(space)
    layers = (
        space.largest.encoder_layers[0].model_copy(update={"ffn_dim": 17}),
        *space.largest.encoder_layers[1:],
    )
    wrong = space.largest.model_copy(update={"encoder_layers": layers})
    for call in (
        lambda: net(src, prev, wrong),
        lambda: net.generate(wrong, False),
        lambda: extract(net, wrong),
    ):
        with pytest.raises(
            ArchError, match=r"encoder_layers\.0\.ffn_dim is 17, allowed: \[5, 9, 16\]"
        ):
            call()
