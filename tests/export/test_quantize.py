import numpy as np
import pytest

from mosdeploy.export.quantize import (
    SCHEMES,
    block_size,
    in_blocks,
    quantize_blocks,
    quantize_columns,
    quantize_table,
)


def test_quantize_columns_by_hand() -> None:
    matrix = np.array([[127.0, 0.0, -1.0], [-63.6, 0.0, 2.54]], np.float32)
    codes, scales = quantize_columns(matrix, 127)
    assert scales.tolist() == pytest.approx([1.0, 1.0, 0.02])
    assert codes.tolist() == [[127, 0, -50], [-64, 0, 127]]


def test_quantize_blocks_by_hand() -> None:
    column = np.zeros((32, 1), np.float32)
    column[:2, 0] = (7.0, -6.6)
    column[17, 0] = 3.5
    assert block_size(32) == 32 and block_size(20) == 16
    codes, scales = quantize_blocks(column)
    assert codes.shape == (1, 1, 16) and scales.tolist() == [[1.0]]
    assert codes[0, 0, 0] == (8 + 7) + 16 * (8 - 7), "even inputs in the lower half"
    assert codes[0, 0, 8] == 8 + 16 * (8 + 4) and set(codes[0, 0].tolist()) == {31, 200, 136}


def test_the_last_block_is_filled_up() -> None:
    codes, scales = quantize_blocks(np.ones((20, 3), np.float32))
    assert codes.shape == (3, 2, 8) and scales.shape == (3, 2)
    assert (codes[:, 1, 2:] == 8 + 16 * 8).all() and (codes[:, 1, :2] == 15 + 16 * 15).all()


def test_blocks_hold_the_rows_in_order() -> None:
    rows = np.arange(40, dtype=np.float32).reshape(2, 20)
    blocks = in_blocks(rows)
    assert blocks.shape == (2, 2, 16)
    assert (blocks.reshape(2, 32)[:, :20] == rows).all() and not blocks[:, 1, 4:].any()


@pytest.mark.parametrize("largest_code", [64, 127])
def test_quantisation_error_is_half_a_scale(largest_code: int) -> None:
    matrix = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)
    codes, scales = quantize_columns(matrix, largest_code)
    assert (np.abs(codes * scales - matrix) <= 0.5001 * scales).all()
    assert np.abs(codes).max() == largest_code


def test_a_column_of_next_to_nothing_is_zero() -> None:
    """Its scale would be a subnormal number, which many processors take for zero."""
    matrix = np.array([[1e-39, 127.0], [-1e-39, 1.0]], np.float32)
    codes, scales = quantize_columns(matrix, 127)
    assert scales.tolist() == [1.0, 1.0]
    assert codes.tolist() == [[0, 127], [0, 1]]


def test_upper_half_of_a_table_code_is_the_value_in_int4() -> None:
    table = np.random.default_rng(0).normal(size=(30, 40)).astype(np.float32)
    codes, scales = quantize_table(table)
    column = scales[:, None]
    assert (np.abs((codes - 136.0) * column - table) <= 0.5001 * column).all()
    assert (np.abs(((codes >> 4) - 8.0) * 16 * column - table) <= 8.5001 * column).all()


def test_the_format_of_a_step_depends_on_its_rows() -> None:
    scheme = SCHEMES["int8-int4-logits"]
    assert scheme.format_of("step", 1) == "matmulnbits8"
    assert scheme.format_of("step", 5) == "int8"
    assert scheme.format_of("encoder", 1) == scheme.format_of("encoder", 5) == "int8"
