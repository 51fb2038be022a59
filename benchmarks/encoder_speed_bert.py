"""The networks of encoder_speed.py as others have them: a BERT of transformers, the ONNX file that
PyTorch writes of it, and what ONNX Runtime's tools make of that file.

In: a `Task`. Out: a module, files.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from encoder_speed_task import NAMES, SHAPES, Inputs, Task
from onnx import helper, numpy_helper
from torch import Tensor, nn

from mosdeploy.export.onnx.builder import state_arrays
from mosdeploy.families.encoder.formats import bert_weights

HEAD_DIM = 32


def bert_of(task: Task) -> Any:
    """`BertModel` with the task's weights; its attention is narrower where heads were cut off, as
    transformers itself did it until version 5. It has a pooler of random weights, which is not run.
    """
    from transformers import BertConfig, BertModel

    num_layers, ffn_dim, heads = SHAPES[task.model]
    config = BertConfig.from_pretrained(task.checkpoint.folder)
    config.num_hidden_layers = num_layers
    config.intermediate_size = ffn_dim
    bert = BertModel(config)
    for layer in bert.encoder.layer:
        attention = layer.attention.self
        attention.num_attention_heads = heads
        attention.all_head_size = heads * HEAD_DIM
        for name in ("query", "key", "value"):
            setattr(attention, name, nn.Linear(config.hidden_size, heads * HEAD_DIM))
        layer.attention.output.dense = nn.Linear(heads * HEAD_DIM, config.hidden_size)
    weights = bert_weights(state_arrays(task.subnet.state_dict()), "embedding", task.space)
    tensors = {name: torch.from_numpy(array.copy()) for name, array in weights.items()}
    missing, unexpected = bert.load_state_dict(tensors, strict=False)
    assert not unexpected
    assert all(name.startswith("pooler.") for name in missing)
    return bert.eval()


class VectorModel(nn.Module):
    """A BERT with the mean of the real tokens, of length 1.

    Embeddings and layers are called one by one: the mask that `BertModel.forward` makes is exported
    as nodes in which ONNX Runtime's optimiser finds no attention.
    """

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


def run_bert(bert: Any, inputs: Inputs) -> Any:
    """The vectors, by the whole `BertModel.forward`."""
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    with torch.inference_mode():
        x = bert(**tensors).last_hidden_state
        total = (x * tensors["attention_mask"][:, :, None]).sum(1)
        return torch.nn.functional.normalize(total, dim=-1).numpy()


def export(bert: Any, path: Path) -> None:
    """Write what `torch.onnx.export` makes of the model."""
    from transformers import AttentionInterface

    AttentionInterface.register("divided", _divided_attention)
    bert.set_attn_implementation("divided")
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


def _divided_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, **_: object
) -> tuple[Tensor, Tensor]:
    """Attention as transformers 4 wrote it: ONNX Runtime's optimiser looks for the division."""
    scores = query @ key.transpose(2, 3) / module.attention_head_size**0.5
    weights = (scores + mask).softmax(-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def optimise(source: Path, path: Path, task: Task) -> None:
    """Fuse attention, norms and activations with ONNX Runtime's tool for transformers.

    Raises
    ------
    RuntimeError
        If it found another number of attentions than the model has layers.
    """
    from onnxruntime.transformers import optimizer

    num_layers, _, heads = SHAPES[task.model]
    model = onnx.load(source)
    _unfold_mask(model.graph)
    prepared = path.with_suffix(".prepared.onnx")
    onnx.save(model, prepared)
    with quiet():
        found = optimizer.optimize_model(
            str(prepared), "bert", num_heads=heads, hidden_size=heads * HEAD_DIM, opt_level=0
        )
    prepared.unlink()
    num_fused = found.get_fused_operator_statistics()["Attention"]
    if num_fused != num_layers:
        raise RuntimeError(f"the optimiser fused {num_fused} attentions of {num_layers}")
    found.save_model_to_file(str(path))


def _unfold_mask(graph: onnx.GraphProto) -> None:
    """Give the mask its two axes in two nodes, as the optimiser looks for them."""
    (node,) = (x for x in graph.node if x.op_type == "Unsqueeze" and len(_axes(graph, x)) == 2)
    index = list(graph.node).index(node)
    graph.node.remove(node)
    middle = "mask_middle"
    for i, (source, target) in enumerate(((node.input[0], middle), (middle, node.output[0]))):
        axis = f"mask_axis_{i}"
        graph.initializer.append(numpy_helper.from_array(np.array([i + 1]), axis))
        graph.node.insert(index + i, helper.make_node("Unsqueeze", [source, axis], [target]))


def _axes(graph: onnx.GraphProto, node: onnx.NodeProto) -> list[int]:
    (found,) = (x for x in graph.initializer if x.name == node.input[1])
    return np.atleast_1d(numpy_helper.to_array(found)).tolist()


def quantise_dynamic(source: Path, path: Path) -> None:
    """Int8 weights, one scale an output; activations on the fly."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet():
        quantize_dynamic(source, path, per_channel=True, weight_type=QuantType.QInt8)


def quantise_static(source: Path, path: Path, task: Task) -> None:
    """The same with scales of the activations from calibration, as QuantizeLinear and
    DequantizeLinear.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = path.with_suffix(".prepared.onnx")
    with quiet():
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            path,
            _Reader(task.calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    prepared.unlink()


class _Reader:
    """Texts, one at a time, as the calibration asks for them."""

    def __init__(self, inputs: list[Inputs]) -> None:
        self._inputs = iter(inputs)

    def get_next(self) -> Inputs | None:
        """The next text, None behind the last."""
        return next(self._inputs, None)

    def __iter__(self) -> Iterator[Inputs]:
        return self._inputs

    def __next__(self) -> Inputs:
        return next(self._inputs)


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
