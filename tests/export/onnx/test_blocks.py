"""What no graph of a family has: positions of an odd width."""

import math

import pytest
from onnx_parts import run_part

from mosdeploy.export.onnx.blocks import position_table


@pytest.mark.parametrize("num_columns", [4, 5])
def test_positions_are_vaswanis(num_columns: int) -> None:
    (found,) = run_part({}, lambda b: position_table(b, 7, num_columns, 6))
    for position in range(7):
        for column in range(num_columns):
            angle = position / 10_000 ** (column // 2 * 2 / 6)
            expected = math.cos(angle) if column % 2 else math.sin(angle)
            assert found[position, column] == pytest.approx(expected, abs=1e-6)
