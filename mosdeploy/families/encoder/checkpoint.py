"""Pre-trained encoders of Hugging Face: a folder in, weights under this family's names out."""

import json
import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.torch
import torch

from ...config.encoder import EncoderRunConfig, TaskConfig
from ...errors import ConfigError
from ...record import parse
from ...spaces.encoder import EncoderArch, EncoderSpace, Head
from ...supernet.elastic import StateDict
from .checkpoint_files import WEIGHTS, CheckpointSettings, read_settings, resolve_folder
from .dataset import EncoderDataset
from .network import OUTPUT_STD, EncoderSubnet, PooledHead
from .scoring import outputs_of

_log = logging.getLogger(__name__)

HeadKind = Head | Literal["classifier"]
"""A head of this family, or the classifier of DistilBERT and ELECTRA, which is `pooled` but for its
activation.
"""

CHOICES = ("embed_dim", "layers", "ffn_dim", "heads")
"""Constants of a checkpoint that are choices of a space, whose largest must be the checkpoint's."""

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


# -- names of weights: Hugging Face's, and ours


EMBEDDINGS = {
    "embeddings.word_embeddings": "embed",
    "embeddings.position_embeddings": "positions",
    "embeddings.token_type_embeddings": "types",
    "embeddings.LayerNorm": "embed_norm",
    "embeddings_project": "embed_project",
}
BERT_LAYER = {
    "attention.self.query": "self_attn.q",
    "attention.self.key": "self_attn.k",
    "attention.self.value": "self_attn.v",
    "attention.output.dense": "self_attn.out",
    "attention.output.LayerNorm": "self_attn_norm",
    "intermediate.dense": "fc1",
    "output.dense": "fc2",
    "output.LayerNorm": "ffn_norm",
}
_DISTILBERT_LAYER = {
    "attention.q_lin": "self_attn.q",
    "attention.k_lin": "self_attn.k",
    "attention.v_lin": "self_attn.v",
    "attention.out_lin": "self_attn.out",
    "sa_layer_norm": "self_attn_norm",
    "ffn.lin1": "fc1",
    "ffn.lin2": "fc2",
    "output_layer_norm": "ffn_norm",
}
# dense layer and norm of the head that tells masked pieces, and the module that holds its bias
_MASKED_LM_HEADS = {
    "bert": (
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        "cls.predictions",
    ),
    "distilbert": ("vocab_transform", "vocab_layer_norm", "vocab_projector"),
    "electra": (
        "generator_predictions.dense",
        "generator_predictions.LayerNorm",
        "generator_lm_head",
    ),
    "roberta": ("lm_head.dense", "lm_head.layer_norm", "lm_head"),
}
# by the class that the weights are of, or by their kind where all its classes agree
_CLASSIFIERS: dict[str, dict[str, tuple[HeadKind, str]]] = {
    "BertForSequenceClassification": {"classifier": ("pooled", "head.out")},
    "DistilBertForSequenceClassification": {
        "pre_classifier": ("classifier", "head.dense"),
        "classifier": ("classifier", "head.out"),
    },
    "ElectraForSequenceClassification": {
        "classifier.dense": ("classifier", "head.dense"),
        "classifier.out_proj": ("classifier", "head.out"),
    },
    "roberta": {
        "classifier.dense": ("pooled", "head.dense"),
        "classifier.out_proj": ("pooled", "head.out"),
    },
}


def _head_modules(kind: str, architectures: Iterable[str]) -> dict[str, tuple[HeadKind, str]]:
    """Return the modules of a checkpoint's heads, each with the kind of its head and our name."""
    dense, norm, bias = _MASKED_LM_HEADS[kind]
    modules: dict[str, tuple[HeadKind, str]] = {
        "pooler.dense": ("pooled", "head.dense"),
        dense: ("masked-lm", "head.dense"),
        norm: ("masked-lm", "head.norm"),
        bias: ("masked-lm", "head"),
    }
    for name in (kind, *architectures):
        if name.endswith("ForTokenClassification"):
            modules["classifier"] = ("tokens", "head.out")
        modules |= _CLASSIFIERS.get(name, {})
    return modules


def rename_weights(
    kind: str, architectures: Iterable[str], tensors: StateDict, path: Path
) -> tuple[StateDict, dict[HeadKind, StateDict]]:
    """Give weights our names, as float32: the body's, and those of each head."""
    is_distilbert = kind == "distilbert"
    stack = r"transformer\.layer" if is_distilbert else r"encoder\.layer"
    layer = _DISTILBERT_LAYER if is_distilbert else BERT_LAYER
    modules = _head_modules(kind, architectures)
    if any(name.startswith("classifier.dense.") for name in tensors):
        # of a roberta; a pooler that was kept beside it computes nothing
        modules.pop("pooler.dense", None)
    body: StateDict = {}
    heads: dict[HeadKind, StateDict] = {}
    for full_name, tensor in tensors.items():
        # older files call a norm's weight and bias gamma and beta
        name = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", full_name))
        module, _, part = name.removeprefix(f"{kind}.").rpartition(".")
        in_layer = re.fullmatch(rf"{stack}\.(\d+)\.(.+)", module)
        if module in modules:
            head, ours = modules[module]
            if ours == "head" and part != "bias":
                continue  # the matrix is the embedding table
            target = heads.setdefault(head, {})
        elif module in EMBEDDINGS:
            target, ours = body, EMBEDDINGS[module]
        elif in_layer and in_layer[2] in layer:
            target, ours = body, f"layers.{in_layer[1]}.{layer[in_layer[2]]}"
        else:
            continue
        if tensor.dtype not in _FLOATS:
            raise ConfigError(
                f"{path}: {full_name} is of {tensor.dtype}, as quantised weights are; weights must "
                "be of floating point (float32, float16, bfloat16): give the checkpoint as it was "
                "before it was quantised"
            )
        target[f"{ours}.{part}"] = tensor.float()
    return body, heads


# -- checkpoints


@dataclass(frozen=True)
class Checkpoint:
    """A pre-trained encoder."""

    kind: str
    folder: Path
    constants: Mapping[str, int | float | str | None]
    body: StateDict
    heads: Mapping[HeadKind, StateDict]
    vocab_size: int
    labels: tuple[str, ...] = ()
    is_tied: bool = True
    is_multi_label: bool = False

    @property
    def tokenizer_path(self) -> Path:
        """Its tokenizer, for the library tokenizers."""
        return self.folder / "tokenizer.json"

    def weights(self, head: Head) -> StateDict:
        """Return the body with the weights of one kind of head, if there are any."""
        if head == "masked-lm" and not self.is_tied:
            raise ConfigError(
                f"{self.folder / 'config.json'}: tie_word_embeddings is false, so that masked "
                "pieces have a matrix of their own; task.kind masked-lm tells them by the "
                "embedding table: use a checkpoint where it is true, or another task.kind"
            )
        return self.body | self.heads.get(head, {})

    def space(self, head: Head = "vector", num_outputs: int = 0) -> EncoderSpace:
        """Return the space that holds its own architecture alone."""
        choices = {name: [self.constants[name]] for name in CHOICES}
        fields = {**self.constants, **choices, "head": head, "num_outputs": num_outputs}
        return parse(EncoderSpace, fields, str(self.folder / "config.json"))


def load_checkpoint(path: str, root: Path, key: str = "checkpoint.path") -> Checkpoint:
    """Read a pre-trained encoder."""
    folder = resolve_folder(path, root, key)
    settings = read_settings(folder / "config.json")
    kind = settings.model_type
    tensors = _read_weights(folder / WEIGHTS)
    body, heads = rename_weights(kind, settings.architectures, tensors, folder / WEIGHTS)
    constants = _constants(settings)
    if kind == "roberta":
        # its positions count from the row behind the padding's
        start = settings.pad_token_id + 1
        constants["max_positions"] -= start
        if "positions.weight" in body:
            body["positions.weight"] = body["positions.weight"][start:].clone()
        # its tokenizers tell no types, so that transformers takes the first for all tokens
        constants["num_types"] = min(constants["num_types"], 1)
        if "types.weight" in body:
            body["types.weight"] = body["types.weight"][:1].clone()
    # ELECTRA's and RoBERTa's heads that tell masked pieces have the exact GELU, whatever the body
    other_activation = kind in ("electra", "roberta") and constants["activation"] != "gelu"
    if not settings.tie_word_embeddings or other_activation:
        heads.pop("masked-lm", None)
    labels = tuple(str(name) for _, name in sorted(settings.id2label.items()))
    if all(re.fullmatch(r"LABEL_\d+", name) for name in labels):
        labels = ()  # transformers made the names up
    checkpoint = Checkpoint(
        kind=kind,
        folder=folder,
        constants=constants,
        body=body,
        heads=heads,
        vocab_size=settings.vocab_size,
        labels=labels,
        is_multi_label=settings.problem_type == "multi_label_classification",
        is_tied=settings.tie_word_embeddings,
    )
    _check_complete(checkpoint)
    return checkpoint


def check_fits(checkpoint: Checkpoint, space: EncoderSpace, vocab_size: int) -> None:
    """Check that a checkpoint's weights are those of the largest architecture of a space."""
    wrong = []
    for name, value in checkpoint.constants.items():
        found = getattr(space, name)
        if name == "head_dim" and found is None:
            continue  # of the largest, it follows from width and heads as in the checkpoint
        if name in CHOICES:
            if max(found) != value:
                wrong.append(f"the largest of space.{name} is {max(found)}: make it {value}")
        elif isinstance(value, float):
            if not math.isclose(found, value, rel_tol=1e-6):
                wrong.append(f"space.{name} is {found}: write {value}")
        elif found != value:
            advice = "leave it out" if value is None else f"write {json.dumps(value)}"
            wrong.append(f"space.{name} is {found}: {advice}")
    if vocab_size != checkpoint.vocab_size:
        wrong.append(f"checkpoint.vocab_size is {vocab_size}: write {checkpoint.vocab_size}")
    if wrong:
        raise ConfigError(
            f"the run file does not fit the checkpoint {checkpoint.folder}: " + "; ".join(wrong)
        )


def _read_weights(path: Path) -> StateDict:
    try:
        tensors: StateDict = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise ConfigError(
            f"{path}: not a safetensors file: {error} (if it is a pointer of Git LFS, run `git lfs "
            f"pull` in {path.parent})"
        ) from error
    for name, tensor in tensors.items():
        # float() first: not every type can be asked
        if tensor.is_floating_point() and not tensor.float().isfinite().all():
            raise ConfigError(
                f"{path}: {name} holds NaN or infinity, as weights of a training that went wrong "
                "do; give the checkpoint as it was before"
            )
    return tensors


def _constants(settings: CheckpointSettings) -> dict[str, Any]:
    """Return the constants of the space."""
    dim = settings.hidden_size
    return {
        "embed_dim": dim,
        "layers": settings.num_hidden_layers,
        "ffn_dim": settings.intermediate_size,
        "heads": settings.num_attention_heads,
        "head_dim": dim // settings.num_attention_heads,
        "activation": _ACTIVATIONS[settings.hidden_act],
        "norm_epsilon": settings.layer_norm_eps,
        "table_dim": None if settings.embedding_size == dim else settings.embedding_size,
        "max_positions": settings.max_position_embeddings,
        "num_types": settings.type_vocab_size,
    }


def _check_complete(checkpoint: Checkpoint) -> None:
    """Compare with the network that the constants describe."""
    space = checkpoint.space()
    largest = space.largest
    assert isinstance(largest, EncoderArch)
    with torch.device("meta"):
        expected = EncoderSubnet(largest, space, checkpoint.vocab_size).state_dict()
    path = checkpoint.folder / WEIGHTS
    for name, tensor in expected.items():
        if name not in checkpoint.body:
            raise ConfigError(f"{path} lacks the weights of {name}")
        found = list(checkpoint.body[name].shape)
        if found != list(tensor.shape):
            raise ConfigError(
                f"{path}: {name} is {found}, but config.json says {list(tensor.shape)}"
            )


# -- the head of a fine-tuned network

NUM_TEXTS = 256
"""Training texts that a head answers: enough to tell whether it knows anything of their labels."""

MIN_CORRELATION = 0.2
"""Below, and above its negative, it knows nothing; three standard deviations of chance."""


def output_order(names: Sequence[str], task: TaskConfig) -> list[int] | None:
    """Return for each output of the task the number of the head's, by their names; None where they
    do not match. Case, and `_` for a space, may differ.
    """
    wanted = list(task.tag_names)
    if not names or not wanted:
        return list(range(task.num_outputs))
    if set(names) != set(wanted):
        names, wanted = (["_".join(x.casefold().split()) for x in part] for part in (names, wanted))
    # of two that are alike, nobody knows which is which
    if sorted(names) != sorted(wanted) or len(set(names)) < len(names):
        return None
    return [names.index(name) for name in wanted]


def warn_of_order(folder: Path, task: TaskConfig) -> None:
    """Warn that outputs without names are taken for those of the task."""
    _log.warning(
        "the outputs of %s have no names and are taken for %s, in this order; if theirs is "
        "another, write the names in id2label of its config.json",
        folder,
        ", ".join(task.tag_names),
    )


def put_on_scale(net: EncoderSubnet, dataset: EncoderDataset, config: EncoderRunConfig) -> None:
    """Where a fine-tuned head tells numbers worse than their mean does, map its answers onto the
    labels by the line of least squares, and say so: training alone would take far more steps.
    """
    head = net.head
    if not isinstance(head, PooledHead) or head.scale is None or not head.out.bias.any():
        return
    rows = np.linspace(0, len(dataset) - 1, min(len(dataset), NUM_TEXTS)).astype(np.int64)
    answers = outputs_of(net, [dataset.ids[i].tolist() for i in rows], dataset.layout)
    found = torch.cat(answers).double().numpy()  # (N,)
    wanted = dataset.labels[rows]  # (N,)
    if np.square(found - wanted).mean() <= wanted.var():
        return
    dx, dy = found - found.mean(), wanted - wanted.mean()
    with torch.no_grad():
        if abs(dx @ dy) <= MIN_CORRELATION * np.sqrt((dx @ dx) * (dy @ dy)):
            _log.warning(
                "the answers of the head in %s have nothing to do with the labels, by %d training "
                "texts: its output is drawn anew",
                config.checkpoint.path,
                len(rows),
            )
            generator = torch.Generator().manual_seed(config.training.seed)
            head.out.weight.normal_(std=OUTPUT_STD, generator=generator)
            head.out.bias.zero_()
            return
        slope = float(dx @ dy / (dx @ dx))
        shift = float(wanted.mean() - slope * found.mean())
        head.out.weight.mul_(slope)
        head.out.bias.mul_(slope).add_(shift)
    _log.warning(
        "the head in %s answers on another scale than that of the labels: put on it as %.4g times "
        "its answer plus %.4g, by %d training texts",
        config.checkpoint.path,
        slope,
        shift,
        len(rows),
    )
