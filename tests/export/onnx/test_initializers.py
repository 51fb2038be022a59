import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

from mosdeploy.errors import ExportError
from mosdeploy.export.onnx.initializers import (
    ExternalInitializers,
    InlineInitializers,
    NoInitializers,
    TensorSpec,
)

SPECS = [TensorSpec("a", (3, 5)), TensorSpec("b", (7,), np.int8), TensorSpec("c", (2,))]


def fail(get) -> tuple:
    raise AssertionError("no value is asked for")


def test_inline_tensors_hold_what_was_computed() -> None:
    source = InlineInitializers({"w": np.arange(4, dtype=np.float32)})
    spec = TensorSpec("twice", (4,))
    (tensor,) = source.tensors([spec], lambda get: (2 * get("w", (4,)),))
    assert tensor.name == "twice" and numpy_helper.to_array(tensor).tolist() == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "no weight 'w'"),
        ({"w": np.zeros(3, np.float32)}, r"'w' is \(3,\).* asks for \(4,\)"),
        ({"w": np.full(4, np.inf, np.float32)}, "NaN or infinity"),
    ],
)
def test_weights_that_do_not_fit(weights: dict, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        InlineInitializers(weights).lookup("w", (4,))


def test_a_value_of_another_shape_than_its_spec() -> None:
    source = InlineInitializers({})
    with pytest.raises(ExportError, match=r"came out as \(2,\), expected \(4,\)"):
        source.tensors([TensorSpec("w", (4,))], lambda get: (np.zeros(2, np.float32),))


def test_external_tensors_lie_aligned_by_hand() -> None:
    source = ExternalInitializers()
    made = [{x.key: x.value for x in t.external_data} for t in source.tensors(SPECS, fail)]
    assert [(x["offset"], x["length"]) for x in made] == [("0", "60"), ("64", "7"), ("128", "8")]
    assert source.size_bytes == 192


def test_tensors_without_data_keep_name_type_and_shape() -> None:
    made = NoInitializers().tensors(SPECS, fail)
    assert [(t.name, t.data_type, tuple(t.dims)) for t in made] == [
        ("a", TensorProto.FLOAT, (3, 5)),
        ("b", TensorProto.INT8, (7,)),
        ("c", TensorProto.FLOAT, (2,)),
    ]
    assert not any(t.raw_data for t in made)
