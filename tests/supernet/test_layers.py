import math

import pytest
import torch

from mosdeploy.spaces.translation import EncoderLayerConfig
from mosdeploy.supernet.layers import Encoder, StackConfig, positions

CPU = torch.device("cpu")


def test_positions_by_hand() -> None:
    table = positions(0, 3, 4, 4, CPU)
    wanted = [
        [0.0, 1.0, 0.0, 1.0],
        [math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)],
        [math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)],
    ]
    torch.testing.assert_close(table, torch.tensor(wanted))


def test_positions_of_a_narrow_side_are_the_first_columns() -> None:
    wide = positions(0, 5, 12, 12, CPU)
    assert torch.equal(positions(0, 5, 7, 12, CPU), wide[:, :7])


def test_positions_have_no_end_and_do_not_depend_on_the_start() -> None:
    long = positions(0, 700, 6, 6, CPU)
    assert torch.equal(positions(0, 100, 6, 6, CPU), long[:100])
    for start in (0, 255, 256, 600):
        assert torch.equal(positions(start, 1, 6, 6, CPU), long[start : start + 1])


def test_positions_made_while_translating_serve_training() -> None:
    with torch.inference_mode():
        positions(0, 3, 18, 18, CPU)
    weight = torch.ones(3, 18, requires_grad=True)
    (weight * positions(0, 3, 18, 18, CPU)).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize("pre", [True, False])
def test_encoder_gives_the_last_outputs_deepest_last_and_normed(pre: bool) -> None:
    torch.manual_seed(0)
    layers = [EncoderLayerConfig(ffn_dim=4, heads=2)] * 3
    encoder = Encoder(
        StackConfig(dim=6, qkv_dim=8, pre=pre, dropout=0.0, attention_dropout=0.0), layers
    )
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(2, 5, 6)
    with torch.no_grad():
        outputs = encoder(x, None, 2)
        wanted = [encoder.layers[1](encoder.layers[0](x, None), None)]
        wanted.append(encoder.layers[2](wanted[0], None))
        if encoder.norm is not None:
            wanted = [encoder.norm(y) for y in wanted]
    assert (encoder.norm is not None) == pre
    torch.testing.assert_close(list(outputs), wanted)
