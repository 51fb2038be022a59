"""The folder of a pre-trained encoder: where it lies, and what its config.json holds."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from ...config.encoder import HUB, MODULES_NAME
from ...config.lookup import PACKAGE, resolve_path
from ...errors import ConfigError
from ...record import Record, parse, read_json

WEIGHTS = "model.safetensors"
FILES = ("config.json", WEIGHTS, "tokenizer.json")
"""A checkpoint's folder must hold these."""

OTHER_WEIGHTS = (f"{WEIGHTS}.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Weights in other forms: in parts, or as a pickle."""

CROSS_ENCODER_NAME = "config_sentence_transformers.json"
"""Says how a CrossEncoder of sentence-transformers answers."""

KINDS = ("bert", "distilbert", "electra", "roberta")
"""Kinds that are supported, as `model_type` names them."""

HiddenAct = Literal["gelu", "gelu_new", "gelu_pytorch_tanh", "relu"]

_DEFAULTS: dict[str, dict[str, Any]] = {
    "distilbert": {"type_vocab_size": 0},
    "electra": {"embedding_size": 128},
    "roberta": {"pad_token_id": 1},
}
"""Defaults of transformers, where a kind has other ones than BERT."""


def resolve_folder(path: str, root: Path, key: str = "checkpoint.path") -> Path:
    """Find the folder that a path in a run file means: a folder, one inside an installed package,
    or one that is downloaded.
    """
    is_remote = path.startswith(HUB)
    folder = _download(path.removeprefix(HUB), key) if is_remote else resolve_path(path, root)
    if not folder.is_dir():
        raise ConfigError(
            f"{key}: no such folder: {folder}; give a Hugging Face folder, "
            f"{PACKAGE}NAME/PATH or {HUB}ID"
        )
    missing = [name for name in FILES if not (folder / name).is_file()]
    others = [x for x in OTHER_WEIGHTS if (folder / x).exists()] if WEIGHTS in missing else []
    if others:
        raise ConfigError(
            f"{key}: {folder} has its weights in {others[0]}, not in one file {WEIGHTS}; load it "
            "with its class of transformers (AutoModel, AutoModelForSequenceClassification ...), "
            'and write it by save_pretrained(folder, max_shard_size="100GB")'
        )
    if missing:
        raise ConfigError(
            f"{key}: {folder} is no checkpoint: it lacks {', '.join(missing)}; "
            "`save_pretrained` of transformers writes the model's files, and that of a fast "
            "tokenizer tokenizer.json"
        )
    return folder


def _download(name: str, key: str) -> Path:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ConfigError(
            f"{key}: {HUB}{name} needs huggingface_hub: pip install 'mosdeploy[hub]'"
        ) from error
    wanted = [*FILES, CROSS_ENCODER_NAME, MODULES_NAME, "*_Pooling/config.json"]
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=wanted))
    # a missing repository, a name that is none, no network
    except (OSError, ValueError, huggingface_hub.errors.HfHubHTTPError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"{key}: cannot download {HUB}{name}: {reason}; download it where there is "
            "a network, and give the folder"
        ) from error


class CheckpointSettings(Record):
    """The keys of a config.json that are read, under BERT's names."""

    model_config = ConfigDict(extra="ignore")

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
    """The same keys, some of them under DistilBERT's names."""

    hidden_size: int = Field(ge=1, validation_alias="dim")
    num_hidden_layers: int = Field(ge=1, validation_alias="n_layers")
    num_attention_heads: int = Field(ge=1, validation_alias="n_heads")
    intermediate_size: int = Field(ge=1, validation_alias="hidden_dim")
    hidden_act: HiddenAct = Field("gelu", validation_alias="activation")


def read_settings(path: Path) -> CheckpointSettings:
    """Read a config.json; null stands for the default of transformers."""
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
    settings = parse(model, _DEFAULTS.get(kind, {}) | given, str(path))
    if settings.position_embedding_type != "absolute" or settings.is_decoder:
        raise ConfigError(f"{path}: only encoders with absolute positions are supported")
    if settings.hidden_size % settings.num_attention_heads:
        raise ConfigError(
            f"{path}: hidden size {settings.hidden_size} with {settings.num_attention_heads} heads "
            "is not supported; the heads must divide the size"
        )
    return settings
