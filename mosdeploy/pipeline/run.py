"""A run folder, opened: its config, its file names, and which device a command means.

In: a folder and what the command line said. Out: a `Run`. This file calls no room.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..config.device import load_profile
from ..config.translation import RunConfig
from ..errors import ConfigError, StaleInputError
from ..recipes import list_recipes, read_recipe
from ..record import load_toml
from ..records import SupernetCard
from ..storage import atomic_write, fingerprint, read_record, sha256_file
from ..workspace import CONFIG_NAME, Workspace
from .summaries import RunFile


class Progress(Protocol):
    """How a verb tells that it is getting on; the command line draws it."""

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total` steps of a stage are over."""

    def say(self, message: str) -> None:
        """Something worth one line has happened."""


@dataclass(frozen=True)
class Run:
    """A run folder and the config that stands in it."""

    workspace: Workspace
    config: RunConfig

    @property
    def space_sha256(self) -> str:
        """Fingerprint of the search space."""
        return fingerprint(self.config.space)

    def device_name(self, option: str | None) -> str:
        """Which device a command means: the option, the config's `device`, else this machine."""
        return option or self.config.device or "local"

    def profiled_device_name(self, option: str | None) -> str:
        """Which device a search means when nothing names one: the one that was profiled for this
        workload.

        Raises
        ------
        ConfigError
            If several were.
        """
        if option or self.config.device:
            return self.device_name(option)
        suffix = f"-{self.config.workload.name}"
        folders = (self.workspace.root / "predictors").glob(f"*{suffix}")
        found = sorted(
            path.name.removesuffix(suffix) for path in folders if (path / "latency.jsonl").exists()
        )
        if len(found) > 1:
            raise ConfigError(
                f"several devices were profiled ({', '.join(found)}): say which one with --device, "
                f'or write device = "{found[0]}" at the top of {CONFIG_NAME}'
            )
        return found[0] if found else "local"

    def supernet_card(self) -> SupernetCard:
        """Card of the trained supernet.

        Raises
        ------
        StaleInputError
            If there is none, its files do not belong together, or the search space has changed
            since.
        """
        files = self.workspace
        card = read_record(SupernetCard, files.supernet_card_path, "mosdeploy train")
        for path, sha256 in (
            (files.supernet_path, card.supernet_sha256),
            (files.tokenizer_path, card.tokenizer_sha256),
        ):
            if not path.exists() or sha256_file(path) != sha256:
                raise StaleInputError(
                    f"{path} is missing or is not the file that {files.supernet_card_path.name} was written for; "
                    "run `mosdeploy train` again"
                )
        if card.space_sha256 != self.space_sha256:
            raise StaleInputError(
                f"the search space in {CONFIG_NAME} is not the one that the supernet was trained on; "
                "restore it, or run `mosdeploy train` again"
            )
        return card


def init(root: Path, recipe: str, device: str | None) -> RunFile:
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


def open_run(root: Path) -> Run:
    """Open a run folder.

    Raises
    ------
    ConfigError
        If it has no `mosdeploy.toml`, or that file is wrong.
    """
    workspace = Workspace(root)
    if not workspace.config_path.exists():
        raise ConfigError(
            f"no {CONFIG_NAME} in {root.absolute()}; run `mosdeploy init` there, or name the folder with --dir"
        )
    return Run(workspace, load_toml(RunConfig, workspace.config_path))
