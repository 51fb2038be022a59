import numpy as np
import pytest

from mosdeploy.errors import ExportError
from mosdeploy.export.onnx.builder import InlineInitializers
from mosdeploy.export.tvm import PANEL, WeightPacker, pack_panels, panel_width


def unpack(panels: np.ndarray) -> np.ndarray:
    """(N / P, K, P) to (N, K), column by column."""
    columns = range(panels.shape[0] * panels.shape[2])
    return np.stack([panels[n // panels.shape[2], :, n % panels.shape[2]] for n in columns])


def packer_of(quantized: bool = False, **arrays: np.ndarray) -> WeightPacker:
    named = {name.replace("__", "."): array for name, array in arrays.items()}
    return WeightPacker(InlineInitializers(named).lookup, quantized)


def random_array(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("num_outputs", "panel"), [(64, 32), (72, 8), (20, 4), (7, 1), (32, 32)])
def test_panels_hold_columns_side_by_side(num_outputs: int, panel: int) -> None:
    matrix = np.arange(5 * num_outputs).reshape(5, num_outputs)
    panels = pack_panels(matrix)
    assert panels.shape == (num_outputs // panel, 5, panel) and panels.flags.c_contiguous
    assert panel_width(num_outputs) == panel
    assert (unpack(panels) == matrix.T).all()


def test_a_panel_by_hand() -> None:
    # two columns a panel: (K, N) = (2, 6) has gcd(6, 32) = 2
    matrix = np.array([[0, 1, 2, 3, 4, 5], [10, 11, 12, 13, 14, 15]])
    assert pack_panels(matrix)[1].tolist() == [[2, 3], [12, 13]]


def test_an_embedding_is_filled_up_to_whole_panels() -> None:
    table = random_array(60, 12)
    packer = packer_of(embed__weight=table)
    packer.embedding("table", "embed.weight", vocab_size=60, width=12)
    found = unpack(packer.packed["table"])
    assert found.shape == (2 * PANEL, 12)
    assert (found[:60] == table).all() and not found[60:].any()


def test_layers_of_the_same_input_stand_side_by_side() -> None:
    arrays = {f"attn__{name}__weight": random_array(8, 5) + i for i, name in enumerate("qkv")}
    arrays |= {f"attn__{name}__bias": np.full(8, float(i)) for i, name in enumerate("qkv")}
    packer = packer_of(**arrays)
    packer.linear("attn", "qkv", num_inputs=5, num_outputs=8)
    assert list(packer.packed) == ["attn.qkv", "attn.qkv.bias"]
    expected = np.concatenate([arrays[f"attn__{name}__weight"] for name in "qkv"])
    assert (unpack(packer.packed["attn.qkv"]) == expected).all()
    assert packer.packed["attn.qkv.bias"].tolist() == [0.0] * 8 + [1.0] * 8 + [2.0] * 8


def test_codes_times_scales_are_the_weights() -> None:
    weight = random_array(32, 24)
    packer = packer_of(True, layer__fc1__weight=weight, layer__fc1__bias=np.zeros(32))
    packer.linear("layer", ("fc1",), num_inputs=24, num_outputs=32)
    codes = packer.packed["layer.fc1"]
    scales = packer.packed["layer.fc1.scales"]
    assert codes.dtype == np.int8 and scales.shape == (32,)
    assert (abs(unpack(codes) * scales[:, None] - weight) <= 0.501 * scales[:, None]).all()


def test_a_weight_that_is_not_finite_is_named() -> None:
    packer = packer_of(norm__weight=np.array([1.0, np.nan]), norm__bias=np.ones(2))
    with pytest.raises(ExportError, match=r"norm\.weight"):
        packer.norm("norm", 2)
