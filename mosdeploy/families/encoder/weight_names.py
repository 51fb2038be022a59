"""The names that Hugging Face gives to the weights of encoders, and ours."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ...errors import ConfigError
from ...spaces.encoder_choices import Head
from ...supernet.elastic import StateDict

HeadKind = Head | Literal["classifier"]
"""Of a head that is read: one of this family's, or a classifier of DistilBERT or ELECTRA, which is
`pooled` but for its activation.
"""

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
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
"""A BERT's names in a layer, and ours; EMBEDDINGS are those before the layers, of all kinds."""

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
_HEADS: dict[str, dict[str, tuple[HeadKind, str]]] = {
    "bert": {
        "pooler.dense": ("pooled", "head.dense"),
        "cls.predictions.transform.dense": ("masked-lm", "head.dense"),
        "cls.predictions.transform.LayerNorm": ("masked-lm", "head.norm"),
        "cls.predictions": ("masked-lm", "head"),
    },
    "distilbert": {
        "vocab_transform": ("masked-lm", "head.dense"),
        "vocab_layer_norm": ("masked-lm", "head.norm"),
        "vocab_projector": ("masked-lm", "head"),
    },
    "electra": {
        "generator_predictions.dense": ("masked-lm", "head.dense"),
        "generator_predictions.LayerNorm": ("masked-lm", "head.norm"),
        "generator_lm_head": ("masked-lm", "head"),
    },
    "roberta": {
        "pooler.dense": ("pooled", "head.dense"),
        "classifier.dense": ("pooled", "head.dense"),
        "classifier.out_proj": ("pooled", "head.out"),
        "lm_head.dense": ("masked-lm", "head.dense"),
        "lm_head.layer_norm": ("masked-lm", "head.norm"),
        "lm_head": ("masked-lm", "head"),
    },
}
# what `classifier` is depends on the class that the weights are of
_CLASSES: dict[str, dict[str, tuple[HeadKind, str]]] = {
    "BertForSequenceClassification": {"classifier": ("pooled", "head.out")},
    "DistilBertForSequenceClassification": {
        "pre_classifier": ("classifier", "head.dense"),
        "classifier": ("classifier", "head.out"),
    },
    "ElectraForSequenceClassification": {
        "classifier.dense": ("classifier", "head.dense"),
        "classifier.out_proj": ("classifier", "head.out"),
    },
}


def rename_weights(
    kind: str, architectures: Iterable[str], tensors: StateDict, path: Path
) -> tuple[StateDict, dict[HeadKind, StateDict]]:
    """Give weights our names, as float32."""
    stack = r"encoder\.layer"
    layer = BERT_LAYER
    if kind == "distilbert":
        stack = r"transformer\.layer"
        layer = _DISTILBERT_LAYER
    heads_of = dict(_HEADS[kind])
    for architecture in architectures:
        if architecture.endswith("ForTokenClassification"):
            heads_of["classifier"] = ("tokens", "head.out")
        heads_of |= _CLASSES.get(architecture, {})
    if any(name.startswith("classifier.dense.") for name in tensors):
        # of a roberta; a pooler that was kept beside it computes nothing
        heads_of.pop("pooler.dense", None)
    body: StateDict = {}
    heads: dict[HeadKind, StateDict] = {}
    for full_name, tensor in tensors.items():
        # older files call a norm's weight and bias gamma and beta
        name = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", full_name))
        module, _, part = name.removeprefix(f"{kind}.").rpartition(".")
        if module in heads_of:
            head, ours = heads_of[module]
            # only the bias stands in the module itself: its matrix is the embedding table
            if ours != "head" or part == "bias":
                floats = _floats(tensor, full_name, path)
                heads.setdefault(head, {})[f"{ours}.{part}"] = floats
            continue
        in_layer = re.fullmatch(rf"{stack}\.(\d+)\.(.+)", module)
        if module in EMBEDDINGS:
            ours = EMBEDDINGS[module]
        elif in_layer and in_layer[2] in layer:
            ours = f"layers.{in_layer[1]}.{layer[in_layer[2]]}"
        else:
            continue
        body[f"{ours}.{part}"] = _floats(tensor, full_name, path)
    return body, heads


def _floats(tensor: Tensor, name: str, path: Path) -> Tensor:
    if tensor.dtype not in _FLOATS:
        raise ConfigError(
            f"{path}: {name} is of {tensor.dtype}, as quantised weights are; weights must be of "
            "floating point (float32, float16, bfloat16): give the checkpoint as it was before it "
            "was quantised"
        )
    return tensor.float()
