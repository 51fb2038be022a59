"""What the user writes: the sections of `mosdeploy.toml`, and device profiles."""

import tomllib
from pathlib import Path

from ..errors import ConfigError
from ..recipes import read_recipe
from ..record import parse, read_toml
from .encoder import EncoderRunConfig
from .sections import RunConfig
from .translation import TranslationRunConfig

RUN_CONFIGS: dict[str, type[RunConfig]] = {
    "encoder": EncoderRunConfig,
    "translation": TranslationRunConfig,
}
"""The run file of each family."""

__all__ = ["RUN_CONFIGS", "RunConfig", "load_recipe", "load_run_config", "parse_run_config"]


def load_run_config(path: Path) -> RunConfig:
    """Read a run file in the words of its family."""
    return parse_run_config(read_toml(path), str(path), path.parent)


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
