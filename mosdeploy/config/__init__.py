"""What the user writes: the sections of `mosdeploy.toml`, and device profiles."""

import tomllib
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..recipes import read_recipe
from ..record import parse, read_toml
from .encoder import EncoderRunConfig
from .lookup import resolve_path
from .sections import RunConfig
from .translation import TranslationRunConfig

RUN_CONFIGS: dict[str, type[RunConfig]] = {
    "encoder": EncoderRunConfig,
    "translation": TranslationRunConfig,
}
"""The run file of each family."""

OF_SUPERNET = ("family", "checkpoint", "space", "supernet")
"""What a task's run file takes from that of the supernet which serves it."""

NOT_OF_TASK = ("device", "deploy", "teacher")
"""What it does not take from there; all other sections are taken where it has none."""

__all__ = ["RUN_CONFIGS", "RunConfig", "load_recipe", "load_run_config", "parse_run_config"]


def load_run_config(path: Path) -> RunConfig:
    """Read a run file in the words of its family."""
    data = read_toml(path)
    if "supernet_from" in data:
        data = _of_task(data, path)
    return parse_run_config(data, str(path), path.parent)


def _of_task(data: dict[str, Any], path: Path) -> dict[str, Any]:
    """Fill a task's run file up from the one in the folder whose supernet serves it."""
    root = path.parent / str(data["supernet_from"])
    base = read_toml(root / path.name)
    if "supernet_from" in base:
        raise ConfigError(f"{path}: supernet_from: {root} has no supernet of its own either")
    wrong = [name for name in OF_SUPERNET if name in data and data[name] != base.get(name)]
    if wrong:
        raise ConfigError(
            f"{path}: {' and '.join(wrong)} follow from the supernet in {root}; leave them out"
        )
    base = {name: value for name, value in base.items() if name not in NOT_OF_TASK}
    checkpoint = base.get("checkpoint", {})
    if ":" not in checkpoint.get("path", ":"):  # package:NAME/PATH, hub:ID
        path_there = str(resolve_path(checkpoint["path"], root.resolve()))
        base["checkpoint"] = {**checkpoint, "path": path_there}
    if "training" in base:
        shared_steps = ("budget", "num_winners")
        base["training"] = {k: v for k, v in base["training"].items() if k not in shared_steps}
    return base | {name: value for name, value in data.items() if name not in OF_SUPERNET}


def load_recipe(name: str) -> RunConfig:
    """Read a shipped run file."""
    return parse_run_config(tomllib.loads(read_recipe(name)), f"recipe {name}")


def parse_run_config(data: dict[str, object], source: str, root: Path | None = None) -> RunConfig:
    """The content of a run file in the words of its family."""
    family = str(data.get("family", "translation"))
    if family not in RUN_CONFIGS:
        raise ConfigError(
            f"{source}: unknown family '{family}'; known: {', '.join(sorted(RUN_CONFIGS))}"
        )
    config = RUN_CONFIGS[family]
    return parse(config, config.completed(data, root or Path()), source)
