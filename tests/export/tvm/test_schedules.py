"""Which kernels a rule takes; needs apache-tvm. That they compute what they must is for
test_kernels.
"""

import platform

import pytest

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")


def test_linear_layers_have_a_rule_of_their_own() -> None:
    from mosdeploy.export.tvm.kernels import LinearShape, layer_norm, linear
    from mosdeploy.export.tvm.library import make_target
    from mosdeploy.export.tvm.schedules import PackedLinear

    target = make_target(platform.machine(), None)
    product = linear(LinearShape(1, 1, 16, 32, 32, 16, False))
    assert PackedLinear().apply(product, target, False) is not None
    assert PackedLinear().apply(layer_norm(1, 1, 16, 1e-5), target, False) is None


@pytest.mark.parametrize(("rows", "most"), [(1, 1), (7, 7), (8, 8), (3, 3)])
def test_rows_at_once_divide_the_rows_of_a_tile(rows: int, most: int) -> None:
    from mosdeploy.export.tvm.library import make_target
    from mosdeploy.export.tvm.schedules import _rows_at_once

    found = _rows_at_once(rows, 32, make_target(platform.machine(), None))
    assert rows % found == 0 and 1 <= found <= most
