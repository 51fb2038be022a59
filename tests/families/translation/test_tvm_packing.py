import numpy as np
import pytest
from bundles import VOCAB_SIZE, arrays_of, lively_subnet, spec_of
from example_spaces import uneven_space

from mosdeploy.errors import ExportError
from mosdeploy.export.onnx.builder import InlineInitializers
from mosdeploy.export.tvm import PANEL, Packed
from mosdeploy.families.translation.tvm import pack_weights
from mosdeploy.spaces.translation import TranslationSpace

NUM_POSITIONS = 40


@pytest.fixture(params=["pre", "post"])
def space(request: pytest.FixtureRequest) -> TranslationSpace:
    return uneven_space(request.param)


def pack(space: TranslationSpace, precision: str) -> tuple[dict[str, np.ndarray], Packed]:
    arrays = arrays_of(lively_subnet(space))
    lookup = InlineInitializers(arrays).lookup
    return arrays, pack_weights(
        spec_of(space, precision=precision), space.largest, lookup, NUM_POSITIONS
    )


def test_every_weight_is_packed_once(space: TranslationSpace) -> None:
    arrays, packed = pack(space, "fp32")
    widest = max(space.largest.encoder_embed_dim, space.largest.decoder_embed_dim)
    padding = (-VOCAB_SIZE % PANEL) * widest
    assert sum(a.size for a in packed.values()) == (
        sum(a.size for a in arrays.values()) + padding + NUM_POSITIONS * widest
    )


def test_the_runtime_finds_positions_and_table_first(space: TranslationSpace) -> None:
    first, second, *_ = pack(space, "int8")[1].items()
    assert first[0] == "sinusoids" and len(first[1]) == NUM_POSITIONS
    assert second[0] == "table" and second[1].shape[0] * second[1].shape[2] >= VOCAB_SIZE


def test_int8_quantises_every_matrix(space: TranslationSpace) -> None:
    exact = pack(space, "fp32")[1]
    quantized = pack(space, "int8")[1]
    matrices = [key for key, array in exact.items() if array.ndim == 3]
    assert all(quantized[key].dtype == np.int8 for key in matrices)
    assert quantized.keys() - exact.keys() == {f"{key}.scales" for key in matrices}


def test_a_missing_weight_is_named(space: TranslationSpace) -> None:
    arrays = arrays_of(lively_subnet(space))
    del arrays["encoder.layers.0.fc1.bias"]
    lookup = InlineInitializers(arrays).lookup
    with pytest.raises(ExportError, match=r"encoder\.layers\.0\.fc1\.bias"):
        pack_weights(spec_of(space), space.largest, lookup, NUM_POSITIONS)
