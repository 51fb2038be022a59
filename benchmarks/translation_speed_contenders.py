"""Contenders of translation_speed.py: each writes one subnet into a folder, and opens it again."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import onnxruntime
import torch

from mosdeploy.export.onnx.builder import state_arrays, write_model
from mosdeploy.families.translation.network import TranslationSubnet
from mosdeploy.families.translation.onnx_graph import build_graph
from mosdeploy.families.translation.scoring import translate
from mosdeploy.families.translation.shortlist import Shortlist, TranslationGraphOptions
from mosdeploy.families.translation.tokenizer import EOS_ID
from mosdeploy.spaces import ModelSpec
from mosdeploy.spaces.spec import Precision
from mosdeploy.spaces.translation import TranslationArch, TranslationSpace, TranslationWorkload

NUM_DECODER_LAYERS = {"sub": 2, "base": 6}
NUM_SENTENCES = 5
LENGTH_PENALTY = 0.6
Translate = Callable[[Sequence[int]], list[int]]


@dataclass(frozen=True)
class Task:
    """Sentences of `source_len` ids into `decode_steps` ids, by one architecture."""

    space: TranslationSpace
    vocab_size: int
    workload: TranslationWorkload

    @classmethod
    def of(cls, model: str, beam: int, threads: int, shortlist: int) -> "Task":
        """Return the task of a model by its name."""
        space = TranslationSpace(
            encoder_embed_dim=(512,),
            decoder_embed_dim=(512,),
            encoder_layers=(6,),
            decoder_layers=(NUM_DECODER_LAYERS[model],),
            encoder_ffn_dim=(2048,),
            decoder_ffn_dim=(2048,),
            encoder_heads=(8,),
            decoder_self_heads=(8,),
            decoder_cross_heads=(8,),
            qkv_dim=512,
            norm="pre",
        )
        workload = TranslationWorkload(
            source_len=30, decode_steps=30, beam=beam, threads=threads, shortlist=shortlist
        )
        return cls(space, 32_000, workload)

    @property
    def arch(self) -> TranslationArch:
        """The architecture."""
        arch = self.space.largest
        assert isinstance(arch, TranslationArch)
        return arch

    @property
    def num_steps(self) -> int:
        """Decode steps, no fewer and no more."""
        return self.workload.decode_steps

    @property
    def whole(self) -> "Task":
        """The same with the whole vocabulary."""
        return replace(self, workload=self.workload.model_copy(update={"shortlist": 0}))

    @cached_property
    def shortlist(self) -> Shortlist | None:
        """A made-up one, as large as those of real sentences."""
        count = self.workload.shortlist
        if not count:
            return None
        return Shortlist.made_up(self.vocab_size, count, self.workload.num_frequent)

    def sentences(self) -> list[list[int]]:
        """Return random sources, without end tokens."""
        rng = np.random.default_rng(1)
        length = self.workload.source_len - 1
        return [
            rng.integers(EOS_ID + 1, self.vocab_size, length).tolist() for _ in range(NUM_SENTENCES)
        ]

    def is_lively(self, answers: Sequence[Sequence[int]]) -> bool:
        """Whether no answer ends early, or repeats itself so much that it hides a wrong cache."""
        varied = all(len(ids) == self.num_steps and len(set(ids)) >= 5 for ids in answers)
        return varied and len(set(map(tuple, answers))) > 1


@torch.no_grad()
def lively_subnet(task: Task) -> TranslationSubnet:
    """Draw weights whose translations change from step to step.

    Norms of random sign break the tie of input and output embedding, sharp attention makes
    positions count, and the end token lies opposite to the last norm's shift, so that it is never
    likely.
    """
    generator = torch.Generator().manual_seed(0)
    subnet = TranslationSubnet(task.arch, task.space, task.vocab_size).eval()
    for name, weight in subnet.named_parameters():
        weight.copy_(_scale(name, weight) * torch.randn(weight.shape, generator=generator))
    assert subnet.decoder.norm is not None
    shift = subnet.decoder.norm.bias
    shift.mul_((512 / len(shift)) ** 0.5)
    subnet.embed.weight[EOS_ID] = -shift
    return subnet


def _scale(name: str, weight: torch.Tensor) -> float:
    """Standard deviation of a weight's values."""
    if "norm.weight" in name:
        return 1.0
    if weight.dim() == 1:
        return 0.1
    sharpness = 3.0 if name.endswith(("q.weight", "k.weight")) else 1.5 if "fc" in name else 1.0
    return sharpness / math.sqrt(weight.shape[1])


class Contender(Protocol):
    """A way to run a subnet; `restricted`: it scores the task's shortlist alone."""

    @property
    def name(self) -> str: ...

    @property
    def restricted(self) -> bool: ...

    def build(self, subnet: TranslationSubnet, task: Task, folder: Path) -> None:
        """Write files."""

    def open(self, task: Task, folder: Path) -> Translate:
        """Read them."""


@dataclass(frozen=True)
class TorchEager:
    """The subnet itself, stepped with its key/value cache."""

    name: str = "PyTorch eager"
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

    precision: Precision
    restricted: bool

    @property
    def name(self) -> str:
        return f"`{self.precision}`" + (", shortlist" if self.restricted else "")

    def build(self, subnet: TranslationSubnet, task: Task, folder: Path) -> None:
        spec = ModelSpec(task.space, task.vocab_size, task.workload)
        spec = spec.with_workload(precision=self.precision)
        num_positions = max(task.workload.source_len, task.num_steps)
        options = TranslationGraphOptions(num_positions, shortlist=task.shortlist)
        model = build_graph(spec, subnet.arch, state_arrays(subnet.state_dict()), options)
        write_model(model, folder / "model.onnx")

    def open(self, task: Task, folder: Path) -> Translate:
        session = open_session(folder / "model.onnx", task.workload.threads)
        return lambda ids: run_onnx(session, ids, task.num_steps, min_steps=task.num_steps)


def open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """Open a session that burns no processor time between calls."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
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
    """The same weights in CTranslate2; its `vmap` is the shortlist."""

    compute_type: Literal["float32", "int8"]
    restricted: bool = False

    @property
    def name(self) -> str:
        width = "fp32" if self.compute_type == "float32" else "int8"
        return f"CTranslate2 {width}" + (" vmap" if self.restricted else "")

    def build(self, subnet: TranslationSubnet, task: Task, folder: Path) -> None:
        import ctranslate2_model

        num_positions = max(task.workload.source_len, task.num_steps)
        ctranslate2_model.convert(subnet, num_positions, self.compute_type, folder)
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
        threads = task.workload.threads
        return ctranslate2_model.open_model(folder, self.compute_type, search, threads)


def contenders(restricted: bool) -> list[Contender]:
    """Return all; torch first, whose ids are the measure. With a shortlist, ours keep to it."""
    first: list[Contender] = [TorchEager(), CTranslate2("float32"), CTranslate2("int8")]
    if restricted:
        first += [CTranslate2("int8", restricted)]
    return [*first, *(Onnx(precision, restricted) for precision in TranslationWorkload.precisions)]
