"""Who runs in encoder_speed.py: each writes one network into a folder, and opens what it wrote.

A further contender is a further class here, and a line in `contenders`.
"""

import importlib
import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from encoder_speed_bert import (
    HEAD_DIM,
    bert_of,
    optimise,
    quantise_dynamic,
    quantise_static,
    quiet,
    run_bert,
)
from encoder_speed_task import NAMES, SHAPES, Inputs, Task

from mosdeploy.export.onnx.builder import state_arrays, write_model
from mosdeploy.families.encoder.onnx_graph import build_graph
from mosdeploy.spaces.spec import Precision

Vectors = npt.NDArray[np.float32]
Run = Callable[[Inputs], Vectors]
Width = Literal["fp32", "bf16", "int8"]

TORCH = "PyTorch eager"
EXPORT = "torch.onnx.export"
OURS = "ours int8"


class Contender(Protocol):
    """A way to run a network.

    Attributes
    ----------
    name
        As the table names it.
    width
        For the bound that it is held against.
    packages
        What it imports.
    """

    name: str
    width: Width
    packages: tuple[str, ...]

    def build(self, task: Task, exported: Path, folder: Path) -> None:
        """Write files into `folder`; `exported` is what PyTorch's exporter wrote."""

    def open(self, task: Task, folder: Path, threads: int) -> Run:
        """Read them."""


@dataclass
class TorchEager:
    """transformers' BertModel."""

    name: str = TORCH
    width: Width = "fp32"
    packages: tuple[str, ...] = ("torch", "transformers")

    def build(self, task: Task, exported: Path, folder: Path) -> None:
        torch.save(bert_of(task).state_dict(), folder / "bert.pt")

    def open(self, task: Task, folder: Path, threads: int) -> Run:
        torch.set_num_threads(threads)
        bert = bert_of(task)
        weights = torch.load(folder / "bert.pt", weights_only=True, mmap=True)
        bert.load_state_dict(weights, assign=True)
        return lambda inputs: run_bert(bert, inputs)


@dataclass
class Onnx:
    """An ONNX file in ONNX Runtime; `write` makes it of the exported one."""

    name: str
    width: Width
    write: Callable[[Path, Path, Task], None]
    packages: tuple[str, ...] = ("onnxruntime",)

    def build(self, task: Task, exported: Path, folder: Path) -> None:
        self.write(exported, folder / "model.onnx", task)

    def open(self, task: Task, folder: Path, threads: int) -> Run:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # threads wait busily during a run, and not behind it, where others take their turn
        options.add_session_config_entry("session.force_spinning_stop", "1")
        session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        return lambda inputs: session.run(None, inputs)[0]


@dataclass
class Batched(Onnx):
    """A graph of ours for batches, in our runtime, which gives each thread texts of its own."""

    def open(self, task: Task, folder: Path, threads: int) -> Run:
        from mosdeploy.runtime.session import ModelSession

        session = ModelSession(folder / "model.onnx", NAMES, ["vector"], threads)
        return lambda inputs: session.run(inputs)[0]


def ours(precision: Precision, name: str, batch: int = 1) -> Onnx:
    """Our graph in one precision, for a workload of so many texts."""

    def write(exported: Path, path: Path, task: Task) -> None:
        arrays = state_arrays(task.subnet.state_dict())
        write_model(build_graph(task.spec(precision, batch), task.arch, arrays), path)

    kind = Onnx if batch == 1 else Batched
    return kind(name, "fp32" if precision == "fp32" else "int8", write)


@dataclass
class OpenVino:
    """The exported file in OpenVINO; `hint` is the type that it may compute in."""

    name: str
    width: Width
    hint: Literal["f32", "bf16"]
    packages: tuple[str, ...] = ("openvino", "nncf")

    def build(self, task: Task, exported: Path, folder: Path) -> None:
        import openvino

        model = openvino.convert_model(exported)
        if self.width == "int8":
            model = self._quantised(model, task)
        openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)

    def open(self, task: Task, folder: Path, threads: int) -> Run:
        import openvino

        settings = {
            "INFERENCE_PRECISION_HINT": self.hint,
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        compiled = openvino.Core().compile_model(folder / "model.xml", "CPU", settings)
        request = compiled.create_infer_request()
        return lambda inputs: request.infer(inputs, share_inputs=True)[0]

    def _quantised(self, model: Any, task: Task) -> Any:
        """Weights and activations, by calibration on real texts."""
        import nncf

        nncf.set_log_level(logging.ERROR)
        with quiet():
            return nncf.quantize(
                model,
                nncf.Dataset(task.calibration),
                subset_size=len(task.calibration),
                model_type=nncf.ModelType.TRANSFORMER,
            )


@dataclass
class CTranslate2:
    """The network as CTranslate2's converter of transformers' BERT writes it; vectors are made in
    numpy of its hidden states.
    """

    name: str = "CTranslate2 int8"
    width: Width = "int8"
    packages: tuple[str, ...] = ("ctranslate2", "transformers")

    def build(self, task: Task, exported: Path, folder: Path) -> None:
        from ctranslate2.converters.transformers import BertLoader

        bert = bert_of(task)
        bert.config.position_embedding_type = "absolute"  # which transformers 5 says no more
        bert.config.num_attention_heads = SHAPES[task.model][2]
        spec = BertLoader().get_model_spec(bert)
        for layer in spec.encoder.layer:
            # the loader knows no narrow attention, the format does
            vars(layer.self_attention)["head_dim"] = np.dtype("int32").type(HEAD_DIM)
        spec.register_vocabulary([str(i) for i in range(task.checkpoint.vocab_size)])
        spec.config.unk_token = "0"
        spec.config.layer_norm_epsilon = bert.config.layer_norm_eps
        spec.validate()
        spec.optimize(quantization="int8")
        spec.save(str(folder))

    def open(self, task: Task, folder: Path, threads: int) -> Run:
        import ctranslate2

        encoder = ctranslate2.Encoder(str(folder), inter_threads=1, intra_threads=threads)

        def run(inputs: Inputs) -> Vectors:
            mask = inputs["attention_mask"]
            lengths = mask.sum(1)
            rows = [ids[:n].tolist() for ids, n in zip(inputs["input_ids"], lengths, strict=True)]
            x = np.asarray(encoder.forward_batch(rows).last_hidden_state)  # (B, S, d)
            total = (x * mask[:, :, None].astype(np.float32)).sum(1)
            return total / np.linalg.norm(total, axis=-1, keepdims=True)

        return run


@dataclass
class Apart:
    """A contender that is given the texts of a batch one after another, without padding."""

    whole: Contender

    def __post_init__(self) -> None:
        self.name = f"{self.whole.name}, a text a call"
        self.width = self.whole.width
        self.packages = self.whole.packages

    def build(self, task: Task, exported: Path, folder: Path) -> None:
        self.whole.build(task, exported, folder)

    def open(self, task: Task, folder: Path, threads: int) -> Run:
        run = self.whole.open(task, folder, threads)

        def run_each(inputs: Inputs) -> Vectors:
            lengths = inputs["attention_mask"].sum(1)
            texts = (
                {name: array[i : i + 1, :length] for name, array in inputs.items()}
                for i, length in enumerate(lengths)
            )
            return np.concatenate([run(text).copy() for text in texts])

        return run_each


def _copy(source: Path, path: Path, task: Task) -> None:
    path.write_bytes(source.read_bytes())


def _optimised_dynamic(source: Path, path: Path, task: Task) -> None:
    middle = path.with_suffix(".fp32.onnx")
    optimise(source, middle, task)
    quantise_dynamic(middle, path)
    middle.unlink()


def _dynamic(source: Path, path: Path, task: Task) -> None:
    quantise_dynamic(source, path)


ALL: tuple[Contender, ...] = (
    TorchEager(),
    Onnx(EXPORT, "fp32", _copy),
    Onnx("ONNX Runtime optimiser", "fp32", optimise),
    Onnx("quantize_dynamic", "int8", _dynamic),
    Onnx("optimiser, quantize_dynamic", "int8", _optimised_dynamic),
    Onnx("quantize_static (QDQ)", "int8", quantise_static),
    OpenVino("OpenVINO fp32", "fp32", "f32"),
    OpenVino("OpenVINO bf16", "bf16", "bf16"),
    OpenVino("OpenVINO int8 (nncf)", "int8", "f32"),
    OpenVino("OpenVINO int8 (nncf), bf16", "int8", "bf16"),
    Apart(OpenVino("OpenVINO int8 (nncf), bf16", "int8", "bf16")),
    CTranslate2(),
    ours("fp32", "ours fp32"),
    ours("int8-fp32-embedding", "ours int8, fp32 embedding"),
    ours("int8", OURS),
    ours("int8", "ours int8, for batches", batch=16),
)
"""All; the first is the measure of the others' vectors."""


def contenders() -> tuple[list[Contender], dict[str, str]]:
    """Those that can run here, and of the others what is not installed."""
    missing = {
        contender.name: ", ".join(x for x in contender.packages if not importlib.util.find_spec(x))
        for contender in ALL
    }
    return [x for x in ALL if not missing[x.name]], {k: v for k, v in missing.items() if v}


def import_packages(contender: Contender) -> None:
    """Import what it needs, so that opening it is timed without."""
    for package in contender.packages:
        importlib.import_module(package)
