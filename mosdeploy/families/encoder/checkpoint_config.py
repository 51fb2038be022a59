"""What a pre-trained encoder's config.json says, in the keys that transformers gives a BERT."""

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from ...errors import ConfigError
from ...record import Record, parse, read_json

KINDS = ("bert", "distilbert", "electra", "roberta")
"""Kinds that are supported, as `model_type` names them."""

HiddenAct = Literal["gelu", "gelu_new", "gelu_pytorch_tanh", "relu"]


class CheckpointSettings(Record):
    """The keys that are read; all others are passed over."""

    model_config = ConfigDict(extra="ignore")
    defaults: ClassVar[dict[str, dict[str, Any]]] = {
        "distilbert": {"type_vocab_size": 0},
        "electra": {"embedding_size": 128},
        "roberta": {"pad_token_id": 1},
    }
    """Of transformers, where a kind has other ones than BERT."""

    model_type: str
    vocab_size: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    num_hidden_layers: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)
    max_position_embeddings: int = Field(ge=1)
    hidden_act: HiddenAct = "gelu"
    layer_norm_eps: float = Field(1e-12, gt=0)
    type_vocab_size: int = Field(2, ge=0, le=2)
    embedding_size: int | None = Field(None, ge=1)
    pad_token_id: int = Field(0, ge=0)
    position_embedding_type: str = "absolute"
    is_decoder: bool = False
    tie_word_embeddings: bool = True
    problem_type: str | None = None
    architectures: tuple[str, ...] = ()
    id2label: dict[int, str | int] = Field(default_factory=dict)


class DistilBertSettings(CheckpointSettings):
    """The same in the keys of a DistilBERT."""

    hidden_size: int = Field(ge=1, validation_alias="dim")
    num_hidden_layers: int = Field(ge=1, validation_alias="n_layers")
    num_attention_heads: int = Field(ge=1, validation_alias="n_heads")
    intermediate_size: int = Field(ge=1, validation_alias="hidden_dim")
    hidden_act: HiddenAct = Field("gelu", validation_alias="activation")


def read_settings(path: Path) -> CheckpointSettings:
    """Read a config.json; null is what transformers takes where nothing is said."""
    config = read_json(path)
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in KINDS:
        raise ConfigError(f"{path}: model_type {kind!r} is not supported; supported: {KINDS}")
    if config.get("quantization_config"):
        quantised = json.dumps(config["quantization_config"])[:100]
        raise ConfigError(
            f"{path}: quantization_config is {quantised}; weights must be of floating point: give "
            "the checkpoint as it was before it was quantised"
        )
    given = {key: value for key, value in config.items() if value is not None}
    model = DistilBertSettings if kind == "distilbert" else CheckpointSettings
    settings = parse(model, CheckpointSettings.defaults.get(kind, {}) | given, str(path))
    if settings.position_embedding_type != "absolute" or settings.is_decoder:
        raise ConfigError(f"{path}: only encoders with absolute positions are supported")
    dim = settings.hidden_size
    heads = settings.num_attention_heads
    if dim % heads:
        raise ConfigError(
            f"{path}: hidden size {dim} with {heads} heads is not supported; the heads must divide "
            "the size"
        )
    return settings
