from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, checker, helper

from mosdeploy.export.onnx.builder import (
    CONTRIB,
    GraphBuilder,
    GraphOptions,
    make_model,
    state_arrays,
    write_model,
)
from mosdeploy.export.onnx.initializers import InlineInitializers
from mosdeploy.export.onnx.linear import LinearLayer


def make_linear() -> tuple[GraphBuilder, ModelProto]:
    weights = {"fc.a.weight": np.eye(4, dtype=np.float32), "fc.a.bias": np.ones(4, np.float32)}
    builder = GraphBuilder(InlineInitializers(weights), "linear")
    y = LinearLayer("fc", ("a",), 4, 4, "fp32").apply(builder, "x")
    x_info = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
    y_info = helper.make_tensor_value_info(y, TensorProto.FLOAT, ["N", 4])
    return builder, make_model(builder, [x_info], [y_info])


def test_a_model_is_well_formed() -> None:
    _, model = make_linear()
    checker.check_model(model)
    assert model.graph.name == "linear" and model.producer_name == "mosdeploy"
    assert {(x.domain, x.version) for x in model.opset_import} == {("", 18), (CONTRIB, 1)}


def test_the_weights_are_in_the_model_alone() -> None:
    builder, model = make_linear()
    assert not builder.initializers
    assert [tensor.name for tensor in model.graph.initializer] == ["fc.a.weight", "fc.a.bias"]


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    _, model = make_linear()
    write_model(model, tmp_path / "model.onnx")
    assert onnx.load(tmp_path / "model.onnx") == make_linear()[1]
    assert not model.graph.initializer, "no copy of the weights is left"


def test_state_arrays_are_float32() -> None:
    half = torch.tensor([0.5, -2.0], dtype=torch.float16, requires_grad=True)
    arrays = state_arrays({"w": half})
    assert arrays["w"].dtype == np.float32 and arrays["w"].tolist() == [0.5, -2.0]


def test_options_do_not_change() -> None:
    options = GraphOptions(max_positions=8)
    assert options.length_penalty == 0.6
    with pytest.raises(AttributeError):
        options.max_positions = 9
