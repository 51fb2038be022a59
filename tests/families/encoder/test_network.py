"""The plain network against a reading of the contract in numpy, one text at a time, without
padding.
"""

import numpy as np
import pytest
import torch
from encoder_networks import HEADS, VOCAB_SIZE, shake, small_space, some_archs, texts
from encoders import answer_in_numpy
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mosdeploy.config.sections import SupernetConfig
from mosdeploy.families.encoder.network import EncoderSubnet
from mosdeploy.spaces.encoder import EncoderArch, EncoderSpace, EncoderWorkload
from mosdeploy.spaces.spec import ModelSpec

SPACES = [
    *({"head": head} for head in HEADS),
    {"head": "masked-lm", "table_dim": 6, "activation": "gelu_tanh"},
    {"num_types": 0, "activation": "relu"},
    {"num_types": 1, "table_dim": 6},
    {"head_dim": None},  # heads share the width
    {"ffn_ratio": (0.5, 1.5, 2), "ffn_dim": (), "head_dim": None},
    {"embed_dim": (12,), "layer_dim": (4, 8, 12), "head_dim": None},
]


def shaken(arch: EncoderArch, space: EncoderSpace) -> EncoderSubnet:
    torch.manual_seed(3)
    subnet = EncoderSubnet(arch, space, VOCAB_SIZE)
    shake(subnet, 0.3)
    return subnet.eval()


@pytest.mark.parametrize("changes", SPACES, ids=str)
def test_padded_texts_are_answered_as_the_reference_does(changes: dict[str, object]) -> None:
    space = small_space(**changes)
    ids, mask, types = texts()
    if space.num_types == 1:
        types = torch.zeros_like(types)
    for arch in some_archs(space, 2):
        subnet = shaken(arch, space)
        weights = {name: x.double().numpy() for name, x in subnet.state_dict().items()}
        with torch.no_grad():
            answers = subnet(ids, mask, types).numpy()
        for answer, text, kinds, real in zip(answers, ids, types, mask, strict=True):
            length = int(real.sum())
            alone = {"input_ids": text[None, :length], "token_type_ids": kinds[None, :length]}
            alone = {name: part.numpy() for name, part in alone.items()}
            expected = answer_in_numpy(space, arch, weights, alone)
            got = answer[:length] if space.head in ("tokens", "masked-lm") else answer
            np.testing.assert_allclose(got, expected, atol=2e-5, rtol=2e-5)


def test_only_hidden_pieces_are_guessed() -> None:
    space = small_space(head="masked-lm")
    subnet = shaken(space.largest, space)
    inputs = texts((9, 4, 7))
    places = torch.tensor([0, 5, 9, 20])  # of three rows of nine
    with torch.no_grad():
        everywhere = subnet(*inputs).flatten(0, 1)
        torch.testing.assert_close(subnet(*inputs, places), everywhere[places])


@pytest.mark.parametrize("changes", SPACES, ids=str)
def test_parameters_and_macs_are_those_of_the_inventory(changes: dict[str, object]) -> None:
    space = small_space(**changes)
    workload = EncoderWorkload(input_len=7, batch=2)
    spec = ModelSpec(space, VOCAB_SIZE, workload)
    ids = torch.zeros(workload.batch, workload.input_len, dtype=torch.int64)
    for arch in some_archs(space):
        subnet = EncoderSubnet(arch, space, VOCAB_SIZE).eval()
        assert sum(x.numel() for x in subnet.parameters()) == spec.num_parameters(arch)
        # the counter knows products of matrices, but not the fused attention of a CPU
        with (
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
        ):
            subnet(ids, torch.ones_like(ids), ids)
        assert counter.get_total_flops() == 2 * spec.num_macs(arch)


def test_recomputing_in_the_backward_pass_changes_no_gradient() -> None:
    space = small_space()
    subnet = shaken(space.largest, space)
    gradients = []
    for again in (False, True):
        subnet.zero_grad()
        subnet(*texts(), activation_checkpointing=again).square().sum().backward()
        gradients.append([x.grad.clone() for x in subnet.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_a_narrower_network_drops_out_its_share() -> None:
    space = small_space()
    config = SupernetConfig(dropout=0.3, attention_dropout=0.2)
    subnet = EncoderSubnet(space.smallest, space, VOCAB_SIZE, config)
    rates = {round(x.p, 6) for x in subnet.modules() if isinstance(x, torch.nn.Dropout)}
    assert rates == {0.2}  # 0.3 * 8 / 12
    assert subnet.layers[0].self_attn.dropout == 0.2
    torch.manual_seed(0)
    assert not torch.equal(subnet(*texts()), subnet(*texts()))


def test_first_logits_of_a_fresh_output_layer_are_small() -> None:
    space = small_space(embed_dim=(256,), num_outputs=200)
    weight = EncoderSubnet(space.largest, space, VOCAB_SIZE).head.out.weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.02)
