"""The names that Hugging Face gives to the weights of encoders, and ours.

In: tensors as a checkpoint's file names them. Out: the same under the names of `EncoderSubnet`.
"""

import re
from collections.abc import Mapping
from typing import Any

from ...spaces.encoder import Head
from ...supernet.elastic import StateDict

_EMBEDDINGS = {
    r"embeddings\.word_embeddings": "embed",
    r"embeddings\.position_embeddings": "positions",
    r"embeddings\.token_type_embeddings": "types",
    r"embeddings\.LayerNorm": "embed_norm",
    r"embeddings_project": "embed_project",
}
_BERT_LAYER = {
    r"attention\.self\.query": "self_attn.q",
    r"attention\.self\.key": "self_attn.k",
    r"attention\.self\.value": "self_attn.v",
    r"attention\.output\.dense": "self_attn.out",
    r"attention\.output\.LayerNorm": "self_attn_norm",
    r"intermediate\.dense": "fc1",
    r"output\.dense": "fc2",
    r"output\.LayerNorm": "ffn_norm",
}
_DISTILBERT_LAYER = {
    r"attention\.([qkv])_lin": r"self_attn.\2",  # group 1 is the layer's number
    r"attention\.out_lin": "self_attn.out",
    r"sa_layer_norm": "self_attn_norm",
    r"ffn\.lin1": "fc1",
    r"ffn\.lin2": "fc2",
    r"output_layer_norm": "ffn_norm",
}
# heads that compute what this family's compute: the classifiers of DistilBERT and ELECTRA have
# another activation, so that only their taggers are here
_HEADS: dict[str, dict[str, tuple[Head, str]]] = {
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


def rename_weights(
    kind: str, config: Mapping[str, Any], tensors: StateDict
) -> tuple[StateDict, dict[Head, StateDict]]:
    """Give weights our names, as float32.

    Parameters
    ----------
    kind
        `model_type` of the checkpoint.
    config
        Its config.json, which names the class that `classifier` belongs to.

    Returns
    -------
    tuple[StateDict, dict[Head, StateDict]]
        The body, and what there is of each kind of head that computes what this family's computes.
        All else is left out.
    """
    stack, layer = r"encoder\.layer", _BERT_LAYER
    if kind == "distilbert":
        stack, layer = r"transformer\.layer", _DISTILBERT_LAYER
    names = _EMBEDDINGS | {
        rf"{stack}\.(\d+)\.{theirs}": rf"layers.\1.{ours}" for theirs, ours in layer.items()
    }
    heads_of = dict(_HEADS[kind])
    for architecture in config.get("architectures") or ():
        if architecture.endswith("ForTokenClassification"):
            heads_of["classifier"] = ("tokens", "head.out")
        elif architecture == "BertForSequenceClassification":
            heads_of["classifier"] = ("pooled", "head.out")
    body: StateDict = {}
    heads: dict[Head, StateDict] = {}
    for full_name, tensor in tensors.items():
        # older files call a norm's weight and bias gamma and beta
        name = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", full_name))
        module, _, part = name.removeprefix(f"{kind}.").rpartition(".")
        if module in heads_of:
            head, ours = heads_of[module]
            # only the bias stands in the module itself: its matrix is the embedding table
            if ours != "head" or part == "bias":
                heads.setdefault(head, {})[f"{ours}.{part}"] = tensor.float()
            continue
        for theirs, ours in names.items():
            match = re.fullmatch(theirs, module)
            if match:
                body[f"{match.expand(ours)}.{part}"] = tensor.float()
    return body, heads
