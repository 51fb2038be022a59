import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from mosdeploy.supernet.layers import DecoderLayer, EncoderLayer, StackConfig, checkpointed

CONFIG = StackConfig(
    dim=6,
    qkv_dim=8,
    activation="relu",
    norm_epsilon=1e-5,
    pre_norm=True,
    dropout=0.0,
    attention_dropout=0.0,
)


def filled(layer: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    return layer


@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_an_encoder_layer_is_that_of_torch(pre_norm: bool, activation: str) -> None:
    """With a q/k/v width of the embed width, torch has the same layer under other names."""
    config = replace(CONFIG, qkv_dim=6, pre_norm=pre_norm, activation=activation)
    layer = filled(EncoderLayer(config, heads=2, ffn_dim=5))
    w = layer.state_dict()
    theirs = nn.TransformerEncoderLayer(
        6, 2, 5, 0.0, activation, batch_first=True, norm_first=pre_norm
    ).eval()
    qkv = {
        f"self_attn.in_proj_{kind}": torch.cat([w[f"self_attn.{x}.{kind}"] for x in "qkv"])
        for kind in ("weight", "bias")
    }
    names = {
        "self_attn.out_proj": "self_attn.out",
        "linear1": "fc1",
        "linear2": "fc2",
        "norm1": "self_attn_norm",
        "norm2": "ffn_norm",
    }
    others = {
        f"{name}.{kind}": w[f"{ours}.{kind}"]
        for name, ours in names.items()
        for kind in ("weight", "bias")
    }
    theirs.load_state_dict(qkv | others)
    x = torch.randn(2, 5, 6)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    with torch.no_grad():
        wanted = theirs(x, src_key_padding_mask=padding)
        result = layer(x, ~padding[:, None, None])
    torch.testing.assert_close(result[~padding], wanted[~padding], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pre_norm", [True, False])
def test_a_decoder_layer_walks_step_by_step(pre_norm: bool) -> None:
    config = replace(CONFIG, pre_norm=pre_norm)
    layer = filled(DecoderLayer(config, memory_dim=4, self_heads=2, cross_heads=4, ffn_dim=5))
    x = torch.randn(2, 3, 6)
    with torch.no_grad():
        cross_kv = layer.cross_attn.project(torch.randn(2, 7, 4))
        whole, self_kv = layer(x, cross_kv, None, None)
        past_kv = None
        for t in range(3):
            step, past_kv = layer(x[:, t : t + 1], cross_kv, None, past_kv)
            torch.testing.assert_close(step[:, 0], whole[:, t], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(past_kv.keys, self_kv.keys)


def test_dropout_and_norm_follow_the_config() -> None:
    config = replace(CONFIG, dropout=0.5, norm_epsilon=1e-3)
    layer = filled(EncoderLayer(config, heads=2, ffn_dim=5))
    assert {m.eps for m in layer.modules() if isinstance(m, nn.LayerNorm)} == {1e-3}
    x = torch.randn(2, 5, 6)
    assert not torch.equal(layer(x, None), layer(x, None))
    layer.eval()
    assert torch.equal(layer(x, None), layer(x, None))


def test_checkpointing_changes_no_gradient() -> None:
    layer = filled(EncoderLayer(CONFIG, heads=2, ffn_dim=5))
    twin = copy.deepcopy(layer)
    x = torch.randn(2, 5, 6)
    plain = layer(x, None)
    again = checkpointed(twin, x, None)
    assert torch.equal(plain, again)
    plain.sum().backward()
    again.sum().backward()
    for mine, theirs in zip(layer.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)
