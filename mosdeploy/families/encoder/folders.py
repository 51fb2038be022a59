"""Where a pre-trained encoder lies: a folder, one inside an installed package, or one that is
downloaded.
"""

from pathlib import Path

from ...config.lookup import PACKAGE, resolve_path
from ...config.pooling import HUB, MODULES_NAME
from ...errors import ConfigError

WEIGHTS = "model.safetensors"
FILES = ("config.json", WEIGHTS, "tokenizer.json")
"""What a checkpoint's folder must hold."""

OTHER_WEIGHTS = (f"{WEIGHTS}.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Weights as they may lie there besides: in parts, or as a pickle."""

CROSS_ENCODER_NAME = "config_sentence_transformers.json"
"""Says how a CrossEncoder of sentence-transformers answers; in a checkpoint's folder if it is one.
"""


def resolve_folder(path: str, root: Path, key: str = "checkpoint.path") -> Path:
    """The folder that a path in a run file means."""
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
            f"{key}: {folder} has its weights in {others[0]}, not in one file {WEIGHTS}; convert "
            "them with transformers: from transformers import AutoModel; "
            f"AutoModel.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r}, "
            'max_shard_size="100GB"), of a network with a head with its own class, such as '
            "AutoModelForSequenceClassification"
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
    try:
        wanted = [*FILES, CROSS_ENCODER_NAME, MODULES_NAME, "*_Pooling/config.json"]
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=wanted))
    # a missing repository, a name that is none, no network
    except (OSError, ValueError, huggingface_hub.errors.HfHubHTTPError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"{key}: cannot download {HUB}{name}: {reason}; download it where there is "
            "a network, and give the folder"
        ) from error
