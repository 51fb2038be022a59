from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mosdeploy.supernet.attention import (
    Attention,
    KeyValues,
    computing_attention,
    unfused_attention,
)


def filled(query_dim: int, memory_dim: int, qkv_dim: int, heads: int) -> Attention:
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
    attention = filled(query_dim=6, memory_dim=5, qkv_dim=8, heads=heads)
    queries = torch.randn(1, 3, 6)
    memory = torch.randn(1, 4, 5)
    with torch.no_grad():
        result = attention(queries, attention.project(memory))
    np.testing.assert_allclose(
        result[0].numpy(), by_hand(attention, queries[0], memory[0]), atol=1e-5
    )


def test_masked_memory_is_not_read() -> None:
    attention = filled(query_dim=6, memory_dim=5, qkv_dim=8, heads=2)
    queries = torch.randn(1, 3, 6)
    memory = torch.randn(1, 4, 5)
    mask = torch.tensor([True, True, False, False])[None, None, None]
    with torch.no_grad():
        masked = attention(queries, attention.project(memory), mask)
        short = attention(queries, attention.project(memory[:, :2]))
    torch.testing.assert_close(masked, short)


def test_causal_attention_reads_nothing_later() -> None:
    attention = filled(query_dim=6, memory_dim=6, qkv_dim=8, heads=2)
    x = torch.randn(1, 4, 6)
    with torch.no_grad():
        whole = attention(x, attention.project(x), causal=True)
        for t in range(4):
            alone = attention(x[:, t : t + 1], attention.project(x[:, : t + 1]))
            torch.testing.assert_close(whole[:, t : t + 1], alone)


def test_attention_dropout_acts_in_training_only() -> None:
    attention = filled(query_dim=6, memory_dim=6, qkv_dim=8, heads=2)
    attention.dropout = 0.5
    x = torch.randn(1, 4, 6)
    assert not torch.equal(attention(x, attention.project(x)), attention(x, attention.project(x)))
    attention.eval()
    assert torch.equal(attention(x, attention.project(x)), attention(x, attention.project(x)))


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


def test_attention_in_bf16_is_near_the_one_in_float32() -> None:
    """Fused, and unfused where it is short enough."""
    attention = filled(query_dim=6, memory_dim=6, qkv_dim=8, heads=2)
    for length, is_unfused in ((4, False), (4, True), (300, True)):
        x = 0.1 * torch.randn(1, length, 6)
        exact = attention(x, attention.project(x), causal=True)
        with torch.autocast("cpu", dtype=torch.bfloat16), computing_attention(is_unfused):
            near = attention(x, attention.project(x), causal=True)
        assert near.dtype == torch.bfloat16
        torch.testing.assert_close(near.float(), exact, atol=0.05, rtol=0.05)


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
    attention = filled(query_dim=6, memory_dim=6, qkv_dim=8, heads=2)
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
