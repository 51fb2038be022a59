"""A run folder, opened: its config, its file names, and which device a command means."""

import contextlib
import json
import platform
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ..config import RunConfig, load_run_config
from ..errors import ConfigError, StaleInputError
from ..families import load_family
from ..family import Family
from ..records import SupernetCard
from ..storage import fingerprint, listed, read_record, sha256_bytes, sha256_file
from ..workspace import CONFIG_NAME, LATENCY_NAME, PREDICTOR_NAME, PREDICTORS, Workspace
from .artifact import explain_difference, settings


@dataclass(frozen=True)
class Run:
    """A run folder and the config that stands in it."""

    workspace: Workspace
    config: RunConfig

    @cached_property
    def family(self) -> Family:
        """The kind of model that the run file names."""
        return load_family(self.config.family)

    @property
    def beside(self) -> "Run":
        """The run in the folder of a new supernet."""
        return replace(self, workspace=self.workspace.beside)

    @property
    def origin(self) -> str:
        """Names the run folder to people who meet what it left on a device: `HOST:PATH`."""
        return f"{platform.node()}:{self.workspace.root.resolve()}"

    def job_id(self, dataset_id: str) -> str:
        """Names the job that measures a dataset on a board: a copy of the run folder, which has the
        same dataset, has a job of its own there.
        """
        return f"{dataset_id}-{sha256_bytes(self.origin.encode())[:8]}"

    @property
    def space_sha256(self) -> str:
        """Fingerprint of the search space."""
        return fingerprint(self.config.space)

    def device_name(self, option: str | None, otherwise: str | None = None) -> str:
        """Which device a command means: the option, the config's `device`, the one that something
        was made for, else this machine.
        """
        return option or self.config.device or otherwise or "local"

    def profiled_device_name(self, option: str | None) -> str:
        """Which device a search means when nothing names one: the one that was profiled."""
        if option or self.config.device:
            return self.device_name(option)
        begun = self._devices_with(LATENCY_NAME)
        workload = self.config.workload.name
        found = [x for x in begun if has_records(self.workspace.latency_path(x, workload))] or begun
        if len(found) > 1:
            raise ConfigError(
                f"several devices were profiled ({', '.join(found)}): say which one with --device, "
                f'or write device = "{found[0]}" at the top of {CONFIG_NAME}'
            )
        return found[0] if found else "local"

    def device_option(self, device: str) -> str:
        """What a proposed command has to say for a device: nothing where it means it anyway."""
        with contextlib.suppress(ConfigError):
            if self.profiled_device_name(None) == device:
                return ""
        return f" --device {device}"

    def devices_with_latencies(self) -> list[str]:
        """Devices that have measurements or a predictor for this workload in the folder."""
        return sorted({*self._devices_with(LATENCY_NAME), *self._devices_with(PREDICTOR_NAME)})

    def _devices_with(self, name: str) -> list[str]:
        return measured_devices(self.workspace.root, self.config.workload.name, name)

    def supernet_card(self) -> SupernetCard:
        """Card of the trained supernet."""
        card = self.whole_supernet_card()
        if card.space_sha256 != self.space_sha256:
            changed = explain_difference(card.inputs, settings(self.config.space, "space"))
            raise StaleInputError(
                f"the search space in {CONFIG_NAME} is not the one that the supernet was trained "
                f"on: {changed}; restore it, or run `mosdeploy train` again"
            )
        return card

    def whole_supernet_card(self) -> SupernetCard:
        """Card of the supernet that stands here, of whichever space."""
        files = self.workspace
        card = read_record(SupernetCard, files.supernet_card_path, "mosdeploy train")
        for path, sha256 in (
            (files.supernet_path, card.supernet_sha256),
            (files.tokenizer_path, card.tokenizer_sha256),
        ):
            if not path.exists() or sha256_file(path) != sha256:
                raise StaleInputError(
                    f"{path} is missing or is not the file that {files.supernet_card_path.name} "
                    f"was written for; run `mosdeploy train` again"
                )
        return card


def open_run(root: Path) -> Run:
    """Open a run folder."""
    workspace = Workspace(root)
    if not workspace.config_path.exists():
        raise ConfigError(
            f"no {CONFIG_NAME} in {root.absolute()}; run `mosdeploy init` there, or name the "
            "folder with --dir"
        )
    return Run(workspace, load_run_config(workspace.config_path))


def measured_devices(root: Path, workload: str, name: str) -> list[str]:
    """Devices that have a file of this name for a workload in a run folder, sorted."""
    paths = listed(root / PREDICTORS, f"*-{workload}/{name}")
    devices = [device_of(path.parent, workload) for path in paths]
    return sorted(device for device in devices if device is not None)


def has_records(path: Path) -> bool:
    """Whether a file of measurements holds one; a profile that never reached its device leaves a
    file without. True if it cannot be read, which whoever reads all of it tells.
    """
    if not path.exists():
        return False
    try:
        with path.open("rb") as lines:
            lines.readline()  # what all records have in common
            return lines.readline().endswith(b"\n")
    except OSError:
        return True


def device_of(folder: Path, workload: str) -> str | None:
    """The device that a folder is of; None if it is of another workload."""
    suffix = f"-{workload}"
    if not folder.name.endswith(suffix):
        return None
    device = folder.name.removesuffix(suffix)
    recorded = _recorded_device(folder)
    is_other = recorded is not None and device.startswith(f"{recorded}-")
    return None if is_other else device


def _recorded_device(folder: Path) -> str | None:
    """The device that the files of a folder name."""
    # what is missing, or broken, is told by whoever reads all of it
    unreadable = contextlib.suppress(OSError, ValueError, KeyError, TypeError)
    # its first line holds what all records have in common
    with unreadable, (folder / LATENCY_NAME).open(encoding="utf-8") as lines:
        return str(json.loads(lines.readline())["device"]["name"])
    with unreadable, (folder / PREDICTOR_NAME).open(encoding="utf-8") as predictor:
        return str(json.load(predictor)["device"])
    return None
