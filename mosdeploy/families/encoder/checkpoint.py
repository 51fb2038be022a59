"""Pre-trained encoders of Hugging Face: a folder in, weights under this family's names out."""

import contextlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from ...errors import ConfigError
from ...record import parse
from ...spaces.encoder import EncoderSpace
from ...spaces.encoder_choices import EncoderArch, Head
from ...supernet.elastic import StateDict
from .checkpoint_config import CheckpointSettings, read_settings
from .folders import resolve_folder
from .network import EncoderSubnet
from .weight_names import HeadKind, rename_weights

CHOICES = ("embed_dim", "layers", "ffn_dim", "heads")
"""Constants of a checkpoint that are choices of a space, whose largest must be the checkpoint's."""

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
_LFS_POINTER = b"version https://git-lfs"
_GELU_HEADS = ("electra", "roberta")
"""Kinds whose heads that tell masked pieces have the exact GELU, whatever the body has."""


@dataclass(frozen=True)
class Checkpoint:
    """A pre-trained encoder."""

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
        """The body with what there is of one kind of head."""
        if head == "masked-lm" and not self.is_tied:
            raise ConfigError(
                f"{self.folder / 'config.json'}: tie_word_embeddings is false, so that masked "
                "pieces have a matrix of their own; task.kind masked-lm tells them by the "
                "embedding table: use a checkpoint where it is true, or another task.kind"
            )
        return self.body | self.heads.get(head, {})

    def space(self, head: Head = "vector", num_outputs: int = 0) -> EncoderSpace:
        """The space that holds its own architecture alone."""
        choices = {name: [self.constants[name]] for name in CHOICES}
        fields = {**self.constants, **choices, "head": head, "num_outputs": num_outputs}
        return parse(EncoderSpace, fields, str(self.folder / "config.json"))


def load_checkpoint(path: str, root: Path, key: str = "checkpoint.path") -> Checkpoint:
    """Read a pre-trained encoder."""
    folder = resolve_folder(path, root, key)
    settings = read_settings(folder / "config.json")
    kind = settings.model_type
    weights_path = folder / "model.safetensors"
    tensors = _read_weights(weights_path)
    body, heads = rename_weights(kind, settings.architectures, tensors, weights_path)
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
    has_own_activation = kind in _GELU_HEADS and constants["activation"] != "gelu"
    if not settings.tie_word_embeddings or has_own_activation:
        heads.pop("masked-lm", None)
    checkpoint = Checkpoint(
        kind=kind,
        folder=folder,
        constants=constants,
        body=body,
        heads=heads,
        vocab_size=settings.vocab_size,
        pad_id=settings.pad_token_id,
        labels=_labels(settings),
        is_multi_label=settings.problem_type == "multi_label_classification",
        is_tied=settings.tie_word_embeddings,
    )
    _check_complete(checkpoint)
    return checkpoint


def check_fits(checkpoint: Checkpoint, space: EncoderSpace, vocab_size: int) -> None:
    """Make sure that a checkpoint's weights are those of the largest architecture of a space."""
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
        with contextlib.suppress(OSError), path.open("rb") as file:
            if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise ConfigError(
                    f"{path}: a pointer of Git LFS, not the weights; run `git lfs pull` in "
                    f"{path.parent}"
                ) from error
        raise ConfigError(f"{path}: not a safetensors file: {error}") from error
    for name, tensor in tensors.items():
        # float() first: not every type can be asked
        if tensor.is_floating_point() and not tensor.float().isfinite().all():
            raise ConfigError(
                f"{path}: {name} holds NaN or infinity, as weights of a training that went wrong "
                "do; give the checkpoint as it was before"
            )
    return tensors


def _constants(settings: CheckpointSettings) -> dict[str, Any]:
    """Constants of the space."""
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


def _labels(settings: CheckpointSettings) -> tuple[str, ...]:
    """Names of the outputs, in order; none for those that transformers makes up."""
    names = tuple(str(name) for _, name in sorted(settings.id2label.items()))
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
