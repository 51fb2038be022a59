"""A candidate with its weights put inside is the model that onnx itself would make of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.external_data_helper import load_external_data_for_model
from tiny_onnx import tiny_model

from mosdeploy.config import load_recipe
from mosdeploy.devices.on_device import whole_model
from mosdeploy.devices.on_device.whole_model import write_with_weights
from mosdeploy.export.candidate import build_candidate, candidate_weights_bytes
from mosdeploy.families import load_family


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
@pytest.mark.parametrize("recipe", ["tiny", "minilm-l6"])
def test_it_is_what_onnx_makes_of_it(tmp_path: Path, recipe: str, precision: str) -> None:
    config = load_recipe(recipe)
    workload = config.spec.workload.model_copy(update={"precision": precision})
    spec = replace(config.spec, workload=workload)
    build_graph = load_family(config.family).build_graph
    path = tmp_path / "a.onnx"
    path.write_bytes(build_candidate(spec, spec.space.smallest, build_graph))
    size = candidate_weights_bytes(spec, build_graph)
    weights = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    (tmp_path / "weights.bin").write_bytes(weights.tobytes())
    whole = tmp_path / "whole.onnx"
    write_with_weights(path, tmp_path / "weights.bin", whole)
    expected = onnx.load(path, load_external_data=False)
    load_external_data_for_model(expected, str(tmp_path))
    for tensor in expected.graph.initializer:
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
    found = onnx.load(whole, load_external_data=False)
    assert found == expected
    assert b"weights.bin" not in whole.read_bytes()


def test_weights_that_are_too_short_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(tiny_model(weights_bytes=4096))
    (tmp_path / "weights.bin").write_bytes(b"0" * 100)
    with pytest.raises(RuntimeError, match=r"weights\.bin ends before byte 256"):
        write_with_weights(path, tmp_path / "weights.bin", tmp_path / "whole.onnx")


def test_a_full_disk_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(tiny_model(weights_bytes=4096))
    (tmp_path / "weights.bin").write_bytes(b"0" * 4096)
    monkeypatch.setattr(whole_model, "SPARE_DISK_BYTES", 1 << 60)
    with pytest.raises(RuntimeError, match=r"disk full: .*whole\.onnx needs .* MiB free"):
        write_with_weights(path, tmp_path / "weights.bin", tmp_path / "whole.onnx")
    assert not (tmp_path / "whole.onnx").exists()
