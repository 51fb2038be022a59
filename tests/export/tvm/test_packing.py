import numpy as np
import pytest
from networks import MAX_POSITIONS, VOCAB_SIZE, lively_subnet

from mosdeploy.errors import ExportError
from mosdeploy.export.onnx.initializers import InlineInitializers
from mosdeploy.export.tvm.packing import PANEL, Packed, pack_panels, pack_weights
from mosdeploy.families.translation.onnx_graph import state_arrays
from mosdeploy.spaces.translation import TranslationSpace


def pack(space: TranslationSpace, quantized: bool) -> tuple[dict[str, np.ndarray], Packed]:
    arrays = state_arrays(lively_subnet(space.largest, space, 0).state_dict())
    lookup = InlineInitializers(arrays).lookup
    return arrays, pack_weights(lookup, space.largest, space, VOCAB_SIZE, MAX_POSITIONS, quantized)


def unpack(panels: np.ndarray) -> np.ndarray:
    """(N / P, K, P) to (N, K), column by column."""
    columns = range(panels.shape[0] * panels.shape[2])
    return np.stack([panels[n // panels.shape[2], :, n % panels.shape[2]] for n in columns])


@pytest.mark.parametrize(("num_outputs", "panel"), [(64, 32), (72, 8), (20, 4), (7, 1), (32, 32)])
def test_panels_hold_columns_side_by_side(num_outputs: int, panel: int) -> None:
    matrix = np.arange(5 * num_outputs).reshape(5, num_outputs)
    panels = pack_panels(matrix)
    assert panels.shape == (num_outputs // panel, 5, panel) and panels.flags.c_contiguous
    assert (unpack(panels) == matrix.T).all()


def test_every_weight_is_packed_once(space: TranslationSpace) -> None:
    arrays, packed = pack(space, quantized=False)
    widest = max(space.largest.encoder_embed_dim, space.largest.decoder_embed_dim)
    padding = (-VOCAB_SIZE % PANEL) * widest
    assert sum(a.size for a in packed.values()) == (
        sum(a.size for a in arrays.values()) + padding + MAX_POSITIONS * widest
    )
    assert (unpack(packed["table"])[:VOCAB_SIZE] == arrays["embed.weight"]).all()
    assert not unpack(packed["table"])[VOCAB_SIZE:].any()
    key = "decoder.layers.0.self_attn"
    expected = np.concatenate([arrays[f"{key}.{part}.weight"] for part in "qkv"])
    assert (unpack(packed[f"{key}.qkv"]) == expected).all()


def test_the_runtime_finds_positions_and_table_first(space: TranslationSpace) -> None:
    first, second, *_ = pack(space, quantized=True)[1].items()
    assert first[0] == "sinusoids" and len(first[1]) == MAX_POSITIONS
    assert second[0] == "table" and second[1].shape[0] * second[1].shape[2] >= VOCAB_SIZE


def test_codes_times_scales_are_the_weights(space: TranslationSpace) -> None:
    exact, quantized = pack(space, quantized=False)[1], pack(space, quantized=True)[1]
    for key in ("table", "encoder.layers.0.fc1", "decoder.layers.1.cross_attn.kv"):
        assert quantized[key].dtype == np.int8
        scales = quantized[f"{key}.scales"]
        assert (
            abs(unpack(quantized[key]) * scales[:, None] - unpack(exact[key]))
            <= 0.501 * scales[:, None]
        ).all()


def test_a_weight_that_is_not_finite_is_named(space: TranslationSpace) -> None:
    arrays = state_arrays(lively_subnet(space.largest, space, 0).state_dict())
    arrays["encoder.layers.0.fc1.bias"][2] = np.nan
    with pytest.raises(ExportError, match=r"encoder\.layers\.0\.fc1\.bias"):
        pack_weights(
            InlineInitializers(arrays).lookup,
            space.largest,
            space,
            VOCAB_SIZE,
            MAX_POSITIONS,
            False,
        )
