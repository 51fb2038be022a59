"""The checks of a model file; none of them knows what the model is for."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from command_line import ENVIRONMENT

from mosdeploy.runtime import InputError, ModelError
from mosdeploy.runtime.manifest import INDEPENDENT_ROWS
from mosdeploy.runtime.session import BLOCK_BYTES, ModelSession


def doubling_model() -> onnx.ModelProto:
    """y = x * factor, a factor of 2 in a tensor of its own."""
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N"]) for name in "xy"
    ]
    factor = onnx.numpy_helper.from_array(np.array([2.0], np.float32), "factor")
    node = onnx.helper.make_node("Mul", ["x", "factor"], ["y"])
    graph = onnx.helper.make_graph([node], "double", values[:1], values[1:], [factor])
    opset = onnx.helper.make_opsetid("", 17)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(doubling_model().SerializeToString())
    return tmp_path / "model.onnx"


def counting_model(**metadata: str) -> bytes:
    """y is x (N, 2); n has one row a call: how many rows that had."""
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 2])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 2])
    n = onnx.helper.make_tensor_value_info("n", onnx.TensorProto.INT64, [1])
    nodes = [
        onnx.helper.make_node("Identity", ["x"], ["y"]),
        onnx.helper.make_node("Shape", ["x"], ["n"], start=0, end=1),
    ]
    graph = onnx.helper.make_graph(nodes, "count", [x], [y, n])
    opset = onnx.helper.make_opsetid("", 17)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.helper.set_model_props(model, metadata)
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("threads", "num_rows", "counts"), [(3, 8, [3, 3, 2]), (4, 2, [1, 1]), (4, 1, [1]), (1, 5, [5])]
)
def test_independent_rows_are_shared_out(
    tmp_path: Path, threads: int, num_rows: int, counts: list[int]
) -> None:
    path = tmp_path / "model.onnx"
    x = np.arange(2.0 * num_rows, dtype=np.float32).reshape(num_rows, 2)
    path.write_bytes(counting_model(**{INDEPENDENT_ROWS: "1"}))
    y, n = ModelSession(path, ["x"], ["y", "n"], threads).run({"x": x})
    assert y.tolist() == x.tolist()
    assert n.tolist() == counts
    path.write_bytes(counting_model())
    _, n = ModelSession(path, ["x"], ["y", "n"], threads).run({"x": x})
    assert n.tolist() == [num_rows]


def test_a_model_that_has_answered_answers_in_a_forked_process(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(counting_model(**{INDEPENDENT_ROWS: "1"}))
    script = f"""
import os
from pathlib import Path
import numpy as np
from mosdeploy.runtime.session import ModelSession
session = ModelSession(Path({str(path)!r}), ["x"], ["y", "n"], 2)
inputs = {{"x": np.zeros((4, 2), np.float32)}}
session.run(inputs)
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
print(session.run(inputs)[1].tolist(), flush=True)
if not child:
    os._exit(0)  # as multiprocessing does: ONNX Runtime would end threads that are not there
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == "[2, 2]\n" * 2


@pytest.mark.parametrize("inputs", [{}, {"z": np.zeros(1, np.float32)}, {"x": np.zeros(1)}])
def test_inputs_that_do_not_fit(path: Path, inputs: dict) -> None:
    with pytest.raises(ModelError, match=r"could not run .*model\.onnx"):
        ModelSession(path, ["x"], ["y"]).run(inputs)


@pytest.mark.parametrize(("inputs", "outputs"), [(["a"], ["y"]), (["x"], ["b"]), ([], ["y"])])
def test_other_names_are_refused(path: Path, inputs: list[str], outputs: list[str]) -> None:
    with pytest.raises(ModelError, match=r"has inputs and outputs \[\['x'\], \['y'\]\], not "):
        ModelSession(path, inputs, outputs)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a model", r"cannot load .*model\.onnx"),
        (b"", r"model\.onnx is empty"),
        (bytes(BLOCK_BYTES - 3) + b"location", r"model\.onnx refers to other files"),
        (bytes(2 * BLOCK_BYTES), r"cannot load .*model\.onnx"),
    ],
)
def test_a_model_that_is_none(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        ModelSession(path, ["x"], ["y"])


@pytest.mark.parametrize("location", ["inside.bin", "../secret.bin", "link", "absolute"])
def test_a_model_that_reads_another_file(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    model = doubling_model()
    (tensor,) = model.graph.initializer
    secret = tmp_path / "secret.bin"
    for file in (secret, folder / "inside.bin"):
        file.write_bytes(tensor.raw_data)
    (folder / "link").symlink_to(secret)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    place = str(secret) if location == "absolute" else location
    tensor.external_data.add(key="location", value=place)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="refers to other files"):
        ModelSession(folder / "model.onnx", ["x"], ["y"])


CPU = "CPUExecutionProvider"


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Pretend that a provider is there, and starts: on the CPU. Gives what is asked of it."""

    def use(name: str, starts: bool = True) -> list[Any]:
        asked: list[Any] = []
        on_cpu = onnxruntime.InferenceSession

        def load(model: str, options: Any, **given: Any) -> Any:
            asked.append((options.intra_op_num_threads, given))
            session = on_cpu(model, options, providers=[CPU])
            if starts:
                session.get_providers = lambda: [name, CPU]
            return session

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [name, CPU])
        monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("libs"), raising=False)
        monkeypatch.setattr(onnxruntime, "InferenceSession", load)
        return asked

    return use


@pytest.mark.parametrize("metadata", [{}, {INDEPENDENT_ROWS: "1"}], ids=["plain", "rows"])
def test_openvino_is_told_how_many_threads(
    path: Path, pretend: Callable[..., list[Any]], metadata: dict[str, str]
) -> None:
    """All rows are one call, also independent ones, which are shared out on the CPU alone."""
    names = ["OpenVINOExecutionProvider", CPU]
    asked = pretend(names[0])
    path.write_bytes(counting_model(**metadata))
    session = ModelSession(path, ["x"], ["y", "n"], threads=3, providers=names)
    ((threads, given),) = asked
    assert (threads, given["provider_options"]) == (3, [{"num_of_threads": "3"}, {}])
    assert session.run({"x": np.ones((8, 2), np.float32)})[1].tolist() == [8]


def test_a_provider_that_does_not_start_is_no_cpu(
    path: Path, pretend: Callable[..., list[Any]]
) -> None:
    """ONNX Runtime would answer on the CPU, and say so nowhere."""
    asked = pretend("CUDAExecutionProvider", starts=False)
    with pytest.raises(ModelError, match="CUDAExecutionProvider does not work here; ONNX Runtime "):
        ModelSession(path, ["x"], ["y"], providers=["CUDAExecutionProvider"])
    assert asked[0][1]["enable_fallback"] == 0


def test_on_a_gpu_the_libraries_of_pip_are_loaded_and_fp32_is_no_tf32(
    path: Path, pretend: Callable[..., list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["CUDAExecutionProvider", CPU]
    asked = pretend(names[0])
    ModelSession(path, ["x"], ["y"], threads=1, providers=names)
    given = asked[0][1]
    assert (given["providers"], given["provider_options"]) == (names, [{"use_tf32": "0"}, {}])
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "libs\n")


def test_an_unknown_provider(path: Path) -> None:
    with pytest.raises(ModelError, match="has no NoSuchExecutionProvider, only"):
        ModelSession(path, ["x"], ["y"], providers=["NoSuchExecutionProvider"])
    with pytest.raises(InputError, match=r"is one provider, not a list of them; write \['CPU"):
        ModelSession(path, ["x"], ["y"], providers="CPUExecutionProvider")
