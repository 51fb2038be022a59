"""A trained encoder as a folder that other libraries load."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from ...config.encoder import EncoderRunConfig, TaskConfig, TaskKind
from ...errors import ExportError
from ...export.bundle import copy_tokenizer, whole_folder
from ...export.onnx.builder import Array, write_model
from ...family import FormatJob
from ...spaces.encoder import EncoderArch, EncoderSpace
from .checkpoint import BERT_LAYER, EMBEDDINGS
from .onnx_graph import build_graph, folded
from .tokenizer import ROBERTA_TOKENS, SPECIAL_TOKENS, TOKENIZER_NAME

CONFIG_NAME = "config.json"
TOKENIZER_CONFIG_NAME = "tokenizer_config.json"
REFUSAL = "is no model of Hugging Face"

_CLASSES: dict[TaskKind, str] = {
    "classification": "BertForSequenceClassification",
    "regression": "BertForSequenceClassification",
    "tagging": "BertForTokenClassification",
    "embedding": "BertModel",
    "masked-lm": "BertForMaskedLM",
}
_ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu"}
_ROLES = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
_LABELLED = ("classification", "regression", "tagging")


def write_optimum(job: FormatJob, out_dir: Path) -> None:
    """Write model.onnx with what Optimum needs beside it."""
    arch, _, config = _parts(job)
    if config.task.kind not in _LABELLED:
        raise ExportError(
            f"Optimum has no class for the output of {config.task.kind}; export a bundle, or "
            "--format hf"
        )
    with whole_folder(out_dir, CONFIG_NAME, REFUSAL) as folder:
        folder.mkdir()
        write_model(build_graph(job.spec, arch, job.weights), folder / "model.onnx")
        _write_tokenizer_and_config(job, folder)


def write_hf(job: FormatJob, out_dir: Path) -> None:
    """Write model.safetensors and config.json of a BERT; a folder of vectors is one of
    sentence-transformers too.
    """
    arch, space, config = _parts(job)
    _check_bert(arch, space, job.spec.workload.precision)
    kind = config.task.kind
    with whole_folder(out_dir, CONFIG_NAME, REFUSAL) as folder:
        folder.mkdir()
        tensors = bert_weights(folded(job.weights), kind, space)
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        _write_tokenizer_and_config(job, folder)
        if kind == "embedding":
            _write_sentence_transformer(job, folder)


def _parts(job: FormatJob) -> tuple[EncoderArch, EncoderSpace, EncoderRunConfig]:
    assert isinstance(job.arch, EncoderArch)
    assert isinstance(job.spec.space, EncoderSpace)
    assert isinstance(job.config, EncoderRunConfig)
    return job.arch, job.spec.space, job.config


# -- weights ---------------------------------------------------------------------------------------


def bert_weights(
    weights: Mapping[str, Array], kind: TaskKind, space: EncoderSpace
) -> dict[str, Array]:
    """Return a subnet's weights under the names that transformers gives those of a BERT."""
    names = {ours: theirs for theirs, ours in EMBEDDINGS.items()}
    in_layer = {ours: theirs for theirs, ours in BERT_LAYER.items()}
    # the model without a head has no prefix
    prefix = "" if kind == "embedding" else "bert."
    heads = {"head.dense": "bert.pooler.dense", "head.out": "classifier"}
    if kind == "masked-lm":
        transform = "cls.predictions.transform"
        heads = {"head.dense": f"{transform}.dense", "head.norm": f"{transform}.LayerNorm"}
        heads["head"] = "cls.predictions"
    found = {}
    for name, array in weights.items():
        module, _, part = name.rpartition(".")
        if module.startswith("layers."):
            _, number, layer = module.split(".", 2)
            theirs = f"{prefix}encoder.layer.{number}.{in_layer[layer]}"
        elif module in names:
            theirs = prefix + names[module]
        else:
            theirs = heads[module]
        found[f"{theirs}.{part}"] = np.ascontiguousarray(array)
    if not space.num_types:
        # a BERT has one type at least; zeros add nothing
        width = found[f"{prefix}embeddings.word_embeddings.weight"].shape[1]
        row = np.zeros((1, width), np.float32)
        found[f"{prefix}embeddings.token_type_embeddings.weight"] = row
    return found


def _check_bert(arch: EncoderArch, space: EncoderSpace, precision: str) -> None:
    if precision != "fp32":
        raise ExportError(
            f"the weights of this format are fp32, not {precision}; add --precision fp32"
        )
    reason = None
    width = space.attention_dim(arch.embed_dim, arch.layers[0].heads)
    if not arch.is_uniform:
        reason = "its layers differ"
    elif space.layer_dim is not None:
        reason = "its layers have bottlenecks"
    elif width != arch.embed_dim:
        reason = f"its attention is {width} wide, its hidden states {arch.embed_dim}"
    elif space.table_dim is not None:
        reason = "its embedding table is not as wide as its hidden states"
    if reason:
        raise ExportError(
            f"no BERT can hold {arch}: {reason}; export it with --format optimum or as a bundle, "
            "or search a space with `uniform = true` and no head_dim"
        )


# -- files -----------------------------------------------------------------------------------------


def _write_tokenizer_and_config(job: FormatJob, folder: Path) -> None:
    """Copy the tokenizer, and write how it and the model are used."""
    arch, space, config = _parts(job)
    path = folder / TOKENIZER_NAME
    copy_tokenizer(job.tokenizer_path, path, job.tokenizer_sha256)
    added = json.loads(path.read_text(encoding="utf-8"))["added_tokens"]
    ids = {token["content"]: token["id"] for token in added}
    pairs = zip((*_ROLES, *_ROLES), (*SPECIAL_TOKENS, *ROBERTA_TOKENS), strict=True)
    roles = {role: name for role, name in pairs if name in ids}
    types = ["token_type_ids"] if space.num_types else []
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.export.max_input_len,
        "padding_side": "right",
        "model_input_names": ["input_ids", *types, "attention_mask"],
        **roles,
    }
    _write_json(folder / TOKENIZER_CONFIG_NAME, tokenizer_config)
    pad_id = ids[roles["pad_token"]] if "pad_token" in roles else 0
    model_config = {
        "model_type": "bert",
        "architectures": [_CLASSES[config.task.kind]],
        "vocab_size": job.spec.vocab_size,
        "hidden_size": arch.embed_dim,
        # of a subnet whose layers differ, the largest
        "num_hidden_layers": len(arch.layers),
        "num_attention_heads": max(layer.heads for layer in arch.layers),
        "intermediate_size": max(layer.ffn_dim for layer in arch.layers),
        "hidden_act": _ACTIVATIONS[space.activation],
        "layer_norm_eps": space.norm_epsilon,
        "max_position_embeddings": space.max_positions,
        "type_vocab_size": max(1, space.num_types),
        "pad_token_id": pad_id,
        **_label_config(config.task),
    }
    _write_json(folder / CONFIG_NAME, model_config)


def _label_config(task: TaskConfig) -> dict[str, Any]:
    if task.kind not in _LABELLED:
        return {}
    names = task.tag_names or ("LABEL_0",)
    labels = {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
    }
    if task.kind == "tagging":
        return labels
    is_number = task.kind == "regression"
    return labels | {"problem_type": "regression" if is_number else "single_label_classification"}


def _write_sentence_transformer(job: FormatJob, folder: Path) -> None:
    """Write for sentence-transformers how tokens become one vector, scaled to length 1."""
    arch, space, config = _parts(job)
    parts = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": path,
            "type": f"sentence_transformers.models.{name}",
        }
        for i, (path, name) in enumerate(parts)
    ]
    _write_json(folder / "modules.json", modules)
    length = {"max_seq_length": config.export.max_input_len, "do_lower_case": False}
    _write_json(folder / "sentence_bert_config.json", length)
    for path, _ in parts[1:]:
        (folder / path).mkdir()
    pooling = {
        "word_embedding_dimension": arch.embed_dim,
        "pooling_mode_cls_token": space.reads_first,
        "pooling_mode_mean_tokens": not space.reads_first,
    }
    _write_json(folder / "1_Pooling" / CONFIG_NAME, pooling)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
