import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx_parts import run_part

from mosdeploy.export.onnx.builder import ExternalInitializers, GraphBuilder, InlineInitializers
from mosdeploy.export.onnx.linear import LinearLayer
from mosdeploy.export.quantize import matrix_bytes

FORMATS = ("fp32", "int8", "matmulnbits8", "matmulnbits4")
TOLERANCES = (1e-5, 0.06, 0.04, 0.5)


def test_two_layers_side_by_side_by_hand() -> None:
    weights = {
        "fc.a.weight": np.array([[1.0, 2.0]], np.float32),
        "fc.b.weight": np.array([[0.0, -1.0]], np.float32),
        "fc.a.bias": np.array([10.0], np.float32),
        "fc.b.bias": np.array([20.0], np.float32),
    }
    layer = LinearLayer("fc", ("a", "b"), 2, 1, "fp32")
    (found,) = run_part(weights, layer.apply, np.array([[3.0, 4.0]], np.float32))
    assert layer.name == "fc.ab" and found.tolist() == [[3 + 8 + 10, -4 + 20]]


@pytest.mark.parametrize(
    ("number_format", "tolerance"), list(zip(FORMATS, TOLERANCES, strict=True))
)
@pytest.mark.parametrize("num_inputs", [20, 64, 256])
@pytest.mark.parametrize("num_rows", [1, 5])
def test_every_format_multiplies_nearly_as_numpy(
    number_format: str, tolerance: float, num_inputs: int, num_rows: int
) -> None:
    rng = np.random.default_rng(0)
    weights = {
        f"owner.{name}.weight": rng.normal(size=(12, num_inputs)).astype(np.float32)
        for name in "ab"
    }
    weights |= {f"owner.{name}.bias": rng.normal(size=12).astype(np.float32) for name in "ab"}
    layer = LinearLayer("owner", ("a", "b"), num_inputs, 12, number_format)
    x = rng.normal(size=(1, num_rows, num_inputs)).astype(np.float32) / num_inputs**0.5
    expected = x @ np.concatenate([weights["owner.a.weight"], weights["owner.b.weight"]]).T
    bias = np.concatenate([weights["owner.a.bias"], weights["owner.b.bias"]])
    (product,) = run_part(weights, layer.product, x)
    (full,) = run_part(weights, layer.apply, x)
    assert np.abs(product - expected).max() < tolerance
    assert full - product == pytest.approx(np.broadcast_to(bias, full.shape), abs=1e-5)


@pytest.mark.parametrize("number_format", ["int8", "matmulnbits8"])
def test_largest_products_do_not_saturate(number_format: str) -> None:
    """All weights and activations at full scale."""
    signs = np.where(np.random.default_rng(0).random((16, 256)) < 0.5, -1.0, 1.0).astype(np.float32)
    layer = LinearLayer("owner", ("a",), 256, 16, number_format)
    bias = np.arange(16, dtype=np.float32)
    weights = {"owner.a.weight": signs, "owner.a.bias": bias}
    x = np.ones((1, 256), np.float32)
    assert run_part(weights, layer.product, x)[0] == pytest.approx(x @ signs.T, abs=1e-2)
    assert run_part(weights, layer.apply, x)[0] == pytest.approx(x @ signs.T + bias, abs=1e-2)


def built(number_format: str) -> GraphBuilder:
    """A graph of one layer of 20 inputs and 8 outputs."""
    weights = np.random.default_rng(0).normal(size=(8, 20)).astype(np.float32)
    builder = GraphBuilder(InlineInitializers({"owner.a.weight": weights}), "part")
    LinearLayer("owner", ("a",), 20, 8, number_format).product(builder, "x")
    return builder


def test_weights_in_int8_use_the_codes_of_which_two_products_fit() -> None:
    """No processor with VNNI tells: the test above saturates on others alone."""
    codes = onnx.numpy_helper.to_array(built("int8").initializers["owner.a.codes"])
    assert codes.dtype == np.int8 and np.abs(codes.astype(int)).max() == 64
    assert 255 * np.abs(codes.astype(int)).max() * 2 < 2**15


@pytest.mark.parametrize("number_format", ["matmulnbits8", "matmulnbits4"])
def test_activations_are_quantised_to_a_byte(number_format: str) -> None:
    """Without, the operator computes in fp32, and the time that is measured is another."""
    (node,) = (x for x in built(number_format).nodes if x.op_type == "MatMulNBits")
    (level,) = (x.i for x in node.attribute if x.name == "accuracy_level")
    assert level == 4


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="needs qemu-x86_64 (Debian: qemu-user)")
def test_nor_do_they_on_a_processor_without_vnni() -> None:
    """The test above, on an emulated processor whose byte kernels add two products in 16 bits."""
    command = ["qemu-x86_64", "-cpu", "Haswell", sys.executable]
    # without what else is slow to load there
    command += ["-m", "pytest", "--noconftest", "-p", "no:xdist", "-p", "no:hypothesispytest"]
    command += ["-q", "-p", "no:cacheprovider", __file__, "-k", "saturate"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout


@pytest.mark.parametrize("number_format", FORMATS)
@pytest.mark.parametrize("num_inputs", [20, 64])
def test_matrix_bytes_counts_what_is_stored(number_format: str, num_inputs: int) -> None:
    sizes = []

    class Recording(ExternalInitializers):
        def tensors(self, specs, compute):
            sizes.extend(spec.num_bytes for spec in specs)
            return super().tensors(specs, compute)

    layer = LinearLayer("owner", ("a", "b"), num_inputs, 12, number_format)
    layer.product(GraphBuilder(Recording(), "part"), "x")
    assert sum(sizes) == matrix_bytes(num_inputs, 24, number_format)
