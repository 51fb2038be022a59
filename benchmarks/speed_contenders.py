"""Who runs in translation_speed.py: each writes one subnet into a folder, and opens what it wrote.

A further candidate is a further class here, and a line in `candidates`.
"""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, get_args

import numpy as np
import onnxruntime
import torch

from mosdeploy.families.translation.decoding import translate
from mosdeploy.families.translation.network import Subnet
from mosdeploy.families.translation.onnx_graph import build_graph, state_arrays, write_model
from mosdeploy.spaces.spec import Precision
from mosdeploy.spaces.translation import TranslationSpace

PAD_ID, BOS_ID, EOS_ID = 0, 2, 3
LENGTH_PENALTY = 0.6
Translate = Callable[[Sequence[int]], list[int]]


@dataclass(frozen=True)
class Task:
    """What all of them do: one sentence of `source_len` ids, end included, into `steps` ids."""

    space: TranslationSpace
    vocab_size: int
    beam: int
    source_len: int
    steps: int
    threads: int

    @property
    def num_positions(self) -> int:
        return max(self.source_len, self.steps)


class RuntimeCandidate(Protocol):
    """A way to run a subnet; `width` is fp32, int8 or int4, for the bound that it is held against."""

    name: str
    width: str

    def build(self, subnet: Subnet, task: Task, folder: Path) -> None:
        """Write files."""

    def open(self, task: Task, folder: Path) -> Translate:
        """Read them."""


@dataclass(frozen=True)
class TorchEager:
    """The subnet itself, stepped with its key/value cache."""

    name: str = "PyTorch eager"
    width: str = "fp32"

    def build(self, subnet: Subnet, task: Task, folder: Path) -> None:
        torch.save(subnet.state_dict(), folder / "subnet.pt")

    def open(self, task: Task, folder: Path) -> Translate:
        torch.set_num_threads(task.threads)
        with torch.device("meta"):
            subnet = Subnet(task.space.largest, task.space, task.vocab_size).eval()
        subnet.load_state_dict(torch.load(folder / "subnet.pt", weights_only=True), assign=True)
        return lambda ids: translate(subnet, [ids], task.beam, task.steps, LENGTH_PENALTY)[0]


@dataclass(frozen=True)
class Onnx:
    """Our graph in one precision."""

    name: Precision

    @property
    def width(self) -> str:
        return self.name.split("-")[0]

    def build(self, subnet: Subnet, task: Task, folder: Path) -> None:
        model = build_graph(
            subnet.arch,
            task.space,
            task.vocab_size,
            state_arrays(subnet.state_dict()),
            beam=task.beam,
            length_penalty=LENGTH_PENALTY,
            precision=self.name,
            max_positions=task.num_positions,
        )
        write_model(model, folder / "model.onnx")

    def open(self, task: Task, folder: Path) -> Translate:
        session = open_session(folder / "model.onnx", task.threads)
        steps = np.array(task.steps)

        def run(ids: Sequence[int]) -> list[int]:
            feed = {
                "source_ids": np.array([[*ids, EOS_ID]]),
                "max_steps": steps,
                "min_steps": steps,
            }
            return list(session.run(["output_ids"], feed)[0][0].tolist())

        return run


def open_session(
    path: Path, threads: int, profile_prefix: str | None = None
) -> onnxruntime.InferenceSession:
    """A session that burns no processor time between calls, and writes a profile if a prefix for
    its name is given.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if profile_prefix:
        options.enable_profiling, options.profile_file_prefix = True, profile_prefix
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class CTranslate2:
    """The same weights in CTranslate2; `compute_type` is its name of one."""

    compute_type: str

    @property
    def name(self) -> str:
        return f"CTranslate2 {self.width}"

    @property
    def width(self) -> str:
        return "fp32" if self.compute_type == "float32" else "int8"

    def build(self, subnet: Subnet, task: Task, folder: Path) -> None:
        import ctranslate2_model

        quantization = None if self.compute_type == "float32" else self.compute_type
        ctranslate2_model.convert(subnet, task.num_positions, quantization, folder)

    def open(self, task: Task, folder: Path) -> Translate:
        import ctranslate2_model

        settings = (task.threads, task.beam, task.steps, task.steps, LENGTH_PENALTY)
        return ctranslate2_model.open_model(folder, self.compute_type, *settings)


@dataclass(frozen=True)
class Tvm:
    """The subnet compiled with TVM."""

    width: str

    @property
    def name(self) -> str:
        return f"TVM {self.width}"

    def build(self, subnet: Subnet, task: Task, folder: Path) -> None:
        from mosdeploy.export.tvm import Processor, build_tvm

        build_tvm(
            subnet.arch,
            task.space,
            task.vocab_size,
            state_arrays(subnet.state_dict()),
            beam=task.beam,
            precision=self.width,
            max_positions=task.num_positions,
            processor=Processor(),
            folder=folder,
        )

    def open(self, task: Task, folder: Path) -> Translate:
        from mosdeploy.runtime.manifest import Manifest
        from mosdeploy.runtime.tvm_engine import TvmEngine

        manifest = Manifest(
            name="benchmark",
            runtime="tvm",
            precision=self.width,
            beam=task.beam,
            length_penalty=LENGTH_PENALTY,
            pad_id=PAD_ID,
            bos_id=BOS_ID,
            eos_id=EOS_ID,
            vocab_size=task.vocab_size,
            max_source_len=task.source_len - 1,
            max_decode_steps=task.steps,
            self_tests=(),
            sha256={},
        )
        engine = TvmEngine(folder, manifest, threads=task.threads)
        return lambda ids: engine.translate([ids])[0]


def candidates() -> list[RuntimeCandidate]:
    """All that can run here; torch first, whose ids are the measure."""
    found: list[RuntimeCandidate] = [TorchEager(), CTranslate2("float32"), CTranslate2("int8")]
    found += [Onnx(precision) for precision in get_args(Precision)]
    if importlib.util.find_spec("tvm"):
        found += [Tvm("fp32"), Tvm("int8")]
    return found
