import torch

from mosdeploy.supernet.elastic import (
    ElasticEmbedding,
    ElasticLayerNorm,
    ElasticLinear,
)


def test_a_slice_is_a_view_of_first_rows_and_columns() -> None:
    linear = ElasticLinear(in_dim=4, out_dim=3)
    part = linear.generate(in_dim=2, out_dim=1)
    assert torch.equal(part["weight"], linear.weight[:1, :2])
    assert torch.equal(part["bias"], linear.bias[:1])
    assert part["weight"].data_ptr() == linear.weight.data_ptr()


def test_gradient_reaches_the_slice_only() -> None:
    linear = ElasticLinear(in_dim=3, out_dim=2)
    linear.generate(in_dim=2, out_dim=1)["weight"].sum().backward()
    assert linear.weight.grad is not None
    assert linear.weight.grad.tolist() == [[1, 1, 0], [0, 0, 0]]


def test_embedding_and_norm_start_as_stated() -> None:
    torch.manual_seed(0)
    embedding = ElasticEmbedding(vocab_size=2000, max_dim=16, pad_id=0)
    assert embedding.weight[0].abs().sum() == 0
    assert abs(embedding.weight[1:].std().item() - 0.25) < 0.01
    assert embedding.generate(5)["weight"].shape == (2000, 5)
    norm = ElasticLayerNorm(6).generate(4)
    assert norm["weight"].tolist() == [1, 1, 1, 1]
    assert norm["bias"].tolist() == [0, 0, 0, 0]
