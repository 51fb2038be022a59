"""The verb `init`: write a commented run file."""

from pathlib import Path

from ..config.device import load_profile
from ..errors import ConfigError
from ..recipes import list_recipes, read_recipe
from ..storage import atomic_write
from ..workspace import Workspace
from .summaries import RunFile


def init(root: Path, recipe: str = "tiny", device: str | None = None) -> RunFile:
    """Write a commented `mosdeploy.toml` from a shipped recipe.

    Raises
    ------
    ConfigError
        If the recipe or the device is unknown, or the folder has a run file already.
    """
    if recipe not in list_recipes():
        raise ConfigError(f"unknown recipe '{recipe}'; known: {', '.join(list_recipes())}")
    path = Workspace(root).config_path
    if path.exists():
        raise ConfigError(f"{path} exists already; edit it, or choose another folder with --dir")
    text = read_recipe(recipe)
    if device is not None:
        load_profile(device, root)
        text = text.replace('# device = "rpi"', f'device = "{device}"', 1)
    atomic_write(path, text)
    return RunFile(path=str(path), recipe=recipe)
