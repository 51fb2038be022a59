"""Who runs in translation_speed.py: each writes one subnet into a folder, and opens what it wrote.

A further contender is a further class here, and a line in `contenders`.
"""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import onnxruntime
import torch
from speed_task import Task

from mosdeploy.export.onnx.builder import state_arrays, write_model
from mosdeploy.families.translation.decoding import translate
from mosdeploy.families.translation.network import TranslationSubnet
from mosdeploy.families.translation.onnx_graph import build_graph
from mosdeploy.families.translation.shortlist import TranslationGraphOptions
from mosdeploy.families.translation.tokenizer import BOS_ID, EOS_ID, PAD_ID
from mosdeploy.spaces.spec import Precision
from mosdeploy.spaces.translation import TranslationWorkload

LENGTH_PENALTY = 0.6
Translate = Callable[[Sequence[int]], list[int]]


class Contender(Protocol):
    """A way to run a subnet."""

    @property
    def name(self) -> str:
        """As the table names it."""

    @property
    def width(self) -> str:
        """fp32, int8 or int4, for the bound that it is held against."""

    @property
    def restricted(self) -> bool:
        """Whether it scores the task's shortlist alone."""

    def build(self, subnet: TranslationSubnet, task: Task, folder: Path) -> None:
        """Write files."""

    def open(self, task: Task, folder: Path) -> Translate:
        """Read them."""


@dataclass(frozen=True)
class TorchEager:
    """The subnet itself, stepped with its key/value cache."""

    name: str = "PyTorch eager"
    width: str = "fp32"
    restricted: bool = False

    def build(self, subnet: TranslationSubnet, task: Task, folder: Path) -> None:
        torch.save(subnet.state_dict(), folder / "subnet.pt")

    def open(self, task: Task, folder: Path) -> Translate:
        torch.set_num_threads(task.workload.threads)
        with torch.device("meta"):
            subnet = TranslationSubnet(task.arch, task.space, task.vocab_size).eval()
        subnet.load_state_dict(torch.load(folder / "subnet.pt", weights_only=True), assign=True)
        beam = task.workload.beam
        return lambda ids: translate(subnet, [ids], beam, task.num_steps, LENGTH_PENALTY)[0]


@dataclass(frozen=True)
class Onnx:
    """Our graph in one precision."""

    name: Precision
    restricted: bool

    @property
    def width(self) -> str:
        return self.name.split("-")[0]

    def build(self, subnet: TranslationSubnet, task: Task, folder: Path) -> None:
        spec = task.spec(self.name)
        options = TranslationGraphOptions(task.num_positions, shortlist=task.shortlist)
        model = build_graph(spec, subnet.arch, state_arrays(subnet.state_dict()), options)
        write_model(model, folder / "model.onnx")

    def open(self, task: Task, folder: Path) -> Translate:
        session = open_session(folder / "model.onnx", task.workload.threads)
        return lambda ids: run_onnx(session, ids, task.num_steps, min_steps=task.num_steps)


def open_session(
    path: Path, threads: int, profile_prefix: str | None = None
) -> onnxruntime.InferenceSession:
    """A session that burns no processor time between calls, and writes a profile if a prefix for
    its name is given.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if profile_prefix:
        options.enable_profiling = True
        options.profile_file_prefix = profile_prefix
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_onnx(
    session: onnxruntime.InferenceSession, ids: Sequence[int], max_steps: int, min_steps: int = 0
) -> list[int]:
    """Translate one sentence; ids without begin and end."""
    feed = {
        "source_ids": np.array([[*ids, EOS_ID]]),
        "max_steps": np.array(max_steps),
        "min_steps": np.array(min_steps),
    }
    found: list[int] = session.run(["output_ids"], feed)[0][0].tolist()
    return found[: found.index(EOS_ID)] if EOS_ID in found else found


@dataclass(frozen=True)
class CTranslate2:
    """The same weights in CTranslate2; `compute_type` is its name of one. Its `vmap` is the
    shortlist.
    """

    compute_type: Literal["float32", "int8"]
    restricted: bool = False

    @property
    def name(self) -> str:
        return f"CTranslate2 {self.width}" + (" vmap" if self.restricted else "")

    @property
    def width(self) -> str:
        return "fp32" if self.compute_type == "float32" else "int8"

    def build(self, subnet: TranslationSubnet, task: Task, folder: Path) -> None:
        import ctranslate2_model

        ctranslate2_model.convert(subnet, task.num_positions, self.compute_type, folder)
        if task.shortlist:
            ctranslate2_model.write_vmap(task.shortlist, folder)

    def open(self, task: Task, folder: Path) -> Translate:
        import ctranslate2_model

        search = ctranslate2_model.Search(
            beam=task.workload.beam,
            min_steps=task.num_steps,
            max_steps=task.num_steps,
            length_penalty=LENGTH_PENALTY,
            use_vmap=self.restricted,
        )
        return ctranslate2_model.open_model(
            folder, self.compute_type, search, threads=task.workload.threads
        )


@dataclass(frozen=True)
class Tvm:
    """The subnet compiled with TVM."""

    width: Literal["fp32", "int8"]
    restricted: bool = False

    @property
    def name(self) -> str:
        return f"TVM {self.width}"

    def build(self, subnet: TranslationSubnet, task: Task, folder: Path) -> None:
        from mosdeploy.export.tvm import Processor
        from mosdeploy.families.translation.tvm import build_tvm

        arrays = state_arrays(subnet.state_dict())
        build_tvm(
            task.spec(self.width),
            subnet.arch,
            arrays,
            folder,
            max_positions=task.num_positions,
            processor=Processor(),
        )

    def open(self, task: Task, folder: Path) -> Translate:
        from mosdeploy.runtime.manifest import Manifest
        from mosdeploy.runtime.settings import TranslationSettings
        from mosdeploy.runtime.tvm_engine import TvmEngine

        manifest = Manifest(
            family="translation",
            name="benchmark",
            runtime="tvm",
            precision=self.width,
            settings={},
            vocab_size=task.vocab_size,
            self_tests=(),
            sha256={},
        )
        settings = TranslationSettings(
            pad_id=PAD_ID,
            bos_id=BOS_ID,
            eos_id=EOS_ID,
            beam=task.workload.beam,
            length_penalty=LENGTH_PENALTY,
            max_source_len=task.workload.source_len - 1,
            max_decode_steps=task.num_steps,
        )
        engine = TvmEngine(folder, manifest, settings, threads=task.workload.threads)
        return lambda ids: engine.translate([ids])[0]


def contenders(restricted: bool) -> list[Contender]:
    """All that can run here; torch first, whose ids are the measure. With a shortlist, ours and two
    more of CTranslate2 keep to it.
    """
    found: list[Contender] = [TorchEager(), CTranslate2("float32"), CTranslate2("int8")]
    if restricted:
        found += [CTranslate2("float32", restricted), CTranslate2("int8", restricted)]
    found += [Onnx(precision, restricted) for precision in TranslationWorkload.precisions]
    if importlib.util.find_spec("tvm") and not restricted:
        found += [Tvm("fp32"), Tvm("int8")]
    return found
