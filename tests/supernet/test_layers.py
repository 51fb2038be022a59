import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mosdeploy.supernet.layers import (
    Attention,
    DecoderLayer,
    Dropout,
    EncoderLayer,
    KeyValues,
    StackConfig,
    computing_attention,
    drop,
    initialise_table,
    positions,
    unfused_attention,
)

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


@pytest.mark.parametrize("p", [0.02, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_so_many_activations_are_zero_and_the_rest_are_scaled(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    x = torch.ones(401, 997, dtype=dtype)
    y = drop(x, p)
    assert y.shape == x.shape
    assert y.dtype == dtype
    is_zero = y == 0
    # six standard deviations of so many draws
    bound = 6 * (p * (1 - p) / x.numel()) ** 0.5
    assert abs(is_zero.float().mean().item() - p) < bound
    torch.testing.assert_close(y[~is_zero], torch.full_like(y[~is_zero], 1 / (1 - p)))
    # neither rows nor columns nor neighbours depend on each other
    zeros = is_zero.float() - p
    for shift, dim in ((1, 0), (1, 1), (2, 1), (4, 1)):
        alike = (zeros * zeros.roll(shift, dim)).mean().item() / (p * (1 - p))
        assert abs(alike) < 6 / x.numel() ** 0.5


def test_the_gradient_passes_where_the_activation_did() -> None:
    torch.manual_seed(1)
    x = torch.randn(7, 5, requires_grad=True)
    y = drop(x, 0.4)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.where(y == 0, 0.0, 1 / 0.6))


def test_nothing_is_dropped_in_eval_mode_or_without_a_probability() -> None:
    x = torch.randn(3, 4)
    assert Dropout(0.9).eval()(x) is x
    assert drop(x, 0.9, training=False) is x
    assert Dropout(0.0).train()(x) is x


def filled_attention(query_dim: int, memory_dim: int, qkv_dim: int, heads: int) -> Attention:
    torch.manual_seed(0)
    attention = Attention(query_dim, memory_dim, qkv_dim, heads, dropout=0.0)
    for parameter in attention.parameters():
        nn.init.normal_(parameter)
    return attention


def by_hand(attention: Attention, queries: Tensor, memory: Tensor) -> np.ndarray:
    """One sentence, one head and one query at a time, float64."""
    w = {name: tensor.double().numpy() for name, tensor in attention.state_dict().items()}
    x = queries.double().numpy()
    m = memory.double().numpy()
    q = x @ w["q.weight"].T + w["q.bias"]
    k = m @ w["k.weight"].T + w["k.bias"]
    v = m @ w["v.weight"].T + w["v.bias"]
    width = q.shape[1] // attention.heads
    mixed = np.zeros_like(q)
    for head in range(attention.heads):
        part = slice(head * width, (head + 1) * width)
        for t in range(len(q)):
            scores = np.exp(k[:, part] @ q[t, part] / np.sqrt(width))
            mixed[t, part] = scores / scores.sum() @ v[:, part]
    return mixed @ w["out.weight"].T + w["out.bias"]


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_equals_the_formula(heads: int) -> None:
    attention = filled_attention(query_dim=6, memory_dim=5, qkv_dim=8, heads=heads)
    queries = torch.randn(1, 3, 6)
    memory = torch.randn(1, 4, 5)
    with torch.no_grad():
        result = attention(queries, attention.project(memory))
    np.testing.assert_allclose(
        result[0].numpy(), by_hand(attention, queries[0], memory[0]), atol=1e-5
    )


def test_masked_memory_is_not_read() -> None:
    attention = filled_attention(query_dim=6, memory_dim=5, qkv_dim=8, heads=2)
    queries = torch.randn(1, 3, 6)
    memory = torch.randn(1, 4, 5)
    mask = torch.tensor([True, True, False, False])[None, None, None]
    with torch.no_grad():
        masked = attention(queries, attention.project(memory), mask)
        short = attention(queries, attention.project(memory[:, :2]))
    torch.testing.assert_close(masked, short)


def test_causal_attention_reads_nothing_later() -> None:
    attention = filled_attention(query_dim=6, memory_dim=6, qkv_dim=8, heads=2)
    x = torch.randn(1, 4, 6)
    with torch.no_grad():
        whole = attention(x, attention.project(x), causal=True)
        for t in range(4):
            alone = attention(x[:, t : t + 1], attention.project(x[:, : t + 1]))
            torch.testing.assert_close(whole[:, t : t + 1], alone)


def test_key_values_append_and_reorder() -> None:
    first = KeyValues(
        torch.tensor([[[[1.0]]], [[[2.0]]]]), torch.tensor([[[[3.0]]], [[[4.0]]]])
    )  # (2, 1, 1, 1)
    both = first.append(KeyValues(first.keys * 10, first.values * 10))
    assert both.keys.flatten(1).tolist() == [[1, 10], [2, 20]]
    swapped = both.reorder(torch.tensor([1, 1, 0]))
    assert swapped.keys.flatten(1).tolist() == [[2, 20], [2, 20], [1, 10]]
    assert swapped.values.flatten(1).tolist() == [[4, 40], [4, 40], [3, 30]]


@pytest.mark.parametrize("causal", [True, False])
def test_unfused_attention_is_the_fused_one(causal: bool) -> None:
    torch.manual_seed(0)
    queries, keys, values = (
        torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)
    )
    mask = None if causal else torch.tensor([[True] * 5, [True, True, False, False, False]])
    mask = None if mask is None else mask[:, None, None]
    fused = torch.nn.functional.scaled_dot_product_attention(
        queries, keys, values, attn_mask=mask, is_causal=causal
    )
    unfused = unfused_attention(queries, KeyValues(keys, values), mask, 0.0, causal)
    torch.testing.assert_close(unfused, fused)
    upstream = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    inputs = (queries, keys, values)
    torch.testing.assert_close(
        torch.autograd.grad(unfused, inputs, upstream), torch.autograd.grad(fused, inputs, upstream)
    )


@pytest.mark.parametrize(("length", "is_unfused"), [(4, False), (4, True), (300, True)])
def test_attention_is_unfused_where_it_is_asked_for_and_short(
    length: int, is_unfused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    fused = torch.nn.functional.scaled_dot_product_attention

    def noted(*arguments: Tensor, **options: Any) -> torch.Tensor:
        calls.append(arguments)
        return fused(*arguments, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", noted)
    attention = filled_attention(query_dim=6, memory_dim=6, qkv_dim=8, heads=2)
    x = torch.randn(1, length, 6)
    with computing_attention(is_unfused):
        attention(x, attention.project(x))
    assert bool(calls) == (not is_unfused or length == 300)
    attention(x, attention.project(x))
    assert len(calls) == 1 + bool(not is_unfused or length == 300)


def test_dropout_of_unfused_attention() -> None:
    """Values of one: the mean of what is kept, scaled up, is one."""
    torch.manual_seed(0)
    ones = torch.ones(1, 1, 200, 4)
    dropped = unfused_attention(ones, KeyValues(ones, ones), None, 0.5, causal=False)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.05)
    assert dropped.std().item() > 0.05


CPU = torch.device("cpu")


def test_positions_by_hand() -> None:
    table = positions(0, 3, 4, 4, CPU)
    wanted = [
        [0.0, 1.0, 0.0, 1.0],
        [math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)],
        [math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)],
    ]
    torch.testing.assert_close(table, torch.tensor(wanted))


def test_positions_have_no_end_and_no_start() -> None:
    long = positions(0, 700, 6, 6, CPU)
    assert torch.equal(positions(0, 100, 6, 6, CPU), long[:100])
    for start in (0, 255, 256, 600):
        assert torch.equal(positions(start, 1, 6, 6, CPU), long[start : start + 1])


def test_positions_made_in_inference_mode_serve_training() -> None:
    with torch.inference_mode():
        positions(0, 3, 18, 18, CPU)
    weight = torch.ones(3, 18, requires_grad=True)
    (weight * positions(0, 3, 18, 18, CPU)).sum().backward()
    assert weight.grad is not None


def test_a_table_starts_with_an_empty_row_for_padding() -> None:
    torch.manual_seed(0)
    table = torch.nn.Parameter(torch.empty(1000, 4))
    initialise_table(table, max_dim=16, pad_id=2)
    assert table[2].abs().sum() == 0
    assert abs(table[3:].std().item() - 0.25) < 0.01
