"""Kernels against numpy; needs apache-tvm and a C++ compiler."""

import platform

import numpy as np
import pytest

from mosdeploy.export.tvm import pack_panels, panel_width

pytestmark = pytest.mark.tvm
tvm = pytest.importorskip("tvm")

EPSILON = 1e-5


def run(kernel: object, *inputs: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Schedule and compile one kernel, and run it."""
    from tvm.s_tir import dlight

    from mosdeploy.export.tvm.library import PackedLinear, RowByRow, make_target

    target = make_target(platform.machine(), None)
    module = tvm.IRModule({"main": kernel.with_attr("global_symbol", "main")})
    with target:
        module = dlight.ApplyDefaultSchedule(PackedLinear(), RowByRow())(module)
        built = tvm.compile(module, target)
    result = tvm.runtime.tensor(np.zeros(shape, np.float32))
    built["main"](*map(tvm.runtime.tensor, inputs), result)
    return result.numpy()


def random_array(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("tiles", [None, 2])
@pytest.mark.parametrize("extras", [False, True])
def test_a_linear_layer_is_a_product(tiles: int | None, extras: bool) -> None:
    from mosdeploy.export.tvm.kernels import LinearShape, linear

    x = random_array(2, 8, 20)
    weights = random_array(24, 48)  # four more inputs are stored than are used
    bias = random_array(48)
    residual = random_array(2, 8, 48)
    shape = LinearShape(tiles, 8, 20, 48, panel_width(48), 24, False)
    kernel = linear(shape, bias=extras, relu=extras, residual=extras)
    expected = x @ weights[:20]
    if extras:
        expected = np.maximum(expected + bias, 0) + residual
    inputs = [x, pack_panels(weights), *([bias, residual] if extras else [])]
    found = run(kernel, *inputs, shape=(2, 8, 48))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_quantised_layer_scales_its_codes() -> None:
    from mosdeploy.export.tvm.kernels import LinearShape, linear

    x = random_array(1, 4, 16)
    codes = np.random.default_rng(0).integers(-127, 128, (16, 32)).astype(np.int8)
    scales = np.abs(random_array(32))
    shape = LinearShape(1, 4, 16, 32, panel_width(32), 16, True)
    kernel = linear(shape, bias=False)
    found = run(kernel, x, pack_panels(codes), scales, shape=(1, 4, 32))
    np.testing.assert_allclose(found, x @ codes * scales, rtol=1e-4, atol=1e-4)


def test_a_layer_norm_by_hand() -> None:
    from mosdeploy.export.tvm.kernels import layer_norm

    x = np.array([[[1.0, 3.0]]], np.float32)  # mean 2, variance 1
    gain = np.array([10.0, 10.0], np.float32)
    bias = np.array([0.0, 5.0], np.float32)
    found = run(layer_norm(1, 1, 2, EPSILON), x, gain, bias, shape=(1, 1, 2))
    np.testing.assert_allclose(found, [[[-10.0, 15.0]]], rtol=1e-4)
