import math

import torch

from mosdeploy.supernet.embedding import initialise_table, positions

CPU = torch.device("cpu")


def test_positions_by_hand() -> None:
    table = positions(0, 3, 4, 4, CPU)
    wanted = [
        [0.0, 1.0, 0.0, 1.0],
        [math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)],
        [math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)],
    ]
    torch.testing.assert_close(table, torch.tensor(wanted))


def test_positions_of_a_narrow_stack_are_first_columns() -> None:
    wide = positions(0, 5, 12, 12, CPU)
    assert torch.equal(positions(0, 5, 7, 12, CPU), wide[:, :7])


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
