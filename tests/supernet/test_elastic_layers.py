import torch
from torch import Tensor

from mosdeploy.config.sections import SupernetConfig
from mosdeploy.supernet.elastic_layers import ElasticDecoderLayer, ElasticEncoderLayer
from mosdeploy.supernet.layers import DecoderLayer, EncoderLayer, StackConfig

CONFIG = SupernetConfig(router_hidden_dim=4)
STACK = StackConfig(
    dim=4,
    qkv_dim=8,
    activation="relu",
    norm_epsilon=1e-5,
    pre_norm=True,
    dropout=0.0,
    attention_dropout=0.0,
)


def shapes(weights: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def test_generated_weights_fit_the_plain_layers() -> None:
    encoding = torch.rand(3)
    encoder = ElasticEncoderLayer(6, 8, 9, encoding_dim=3, config=CONFIG)
    plain = EncoderLayer(STACK, heads=2, ffn_dim=5)
    assert shapes(encoder.generate(4, 5, encoding, False)) == shapes(plain.state_dict())
    decoder = ElasticDecoderLayer(6, 7, 8, 9, encoding_dim=3, config=CONFIG)
    plain = DecoderLayer(STACK, memory_dim=3, self_heads=2, cross_heads=4, ffn_dim=5)
    assert shapes(decoder.generate(4, 3, 5, encoding, False)) == shapes(plain.state_dict())


def test_attention_is_sliced_and_only_the_ffn_is_routed() -> None:
    layer = ElasticEncoderLayer(6, 8, 9, encoding_dim=3, config=CONFIG)
    first = layer.generate(4, 5, torch.zeros(3), False)
    second = layer.generate(4, 5, torch.ones(3), False)
    differing = {name for name in first if not torch.equal(first[name], second[name])}
    assert differing == {"fc1.weight", "fc2.weight"}  # biases start at zero in every expert
