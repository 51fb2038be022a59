"""Device profiles by name: one TOML file a device, looked up in the run folder, the user's config and the shipped ones.

In: a name and a run folder. Out: a `DeviceProfile`. This file reaches no device.
"""

import difflib
from pathlib import Path

from .config import DeviceProfile
from .errors import ConfigError
from .schema import load_toml, parse
from .workspace import lookup_dirs

KIND = "device_profiles"


def load_profile(name: str, root: Path) -> DeviceProfile:
    """Read one device profile.

    Parameters
    ----------
    name
        The name of its file, without `.toml`.
    root
        The run folder, whose `device_profiles/` is looked at first.

    Raises
    ------
    ConfigError
        If there is no such profile (the known ones are named), or its file is wrong.
    """
    paths = _profile_paths(root)
    if name not in paths:
        near = difflib.get_close_matches(name, paths, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigError(
            f"unknown device '{name}'; {hint}known devices: {', '.join(sorted(paths)) or 'none'}; "
            f"a new one is a file {root / KIND}/NAME.toml"
        )
    return _read(paths[name])


def at_host(profile: DeviceProfile, host: str) -> DeviceProfile:
    """The profile of another board of the same kind.

    Parameters
    ----------
    host
        Its alias in ssh_config.

    Raises
    ------
    ConfigError
        If `host` is no alias, or the device is this machine.
    """
    if profile.kind == "local":
        raise ConfigError(f"'{profile.name}' is this machine, which has no host '{host}'; choose a device behind SSH")
    return parse(DeviceProfile, {**profile.model_dump(), "host": host}, f"device '{profile.name}' on '{host}'")


def list_profiles(root: Path) -> list[DeviceProfile]:
    """Every device profile that `load_profile` would find, sorted by name.

    Raises
    ------
    ConfigError
        If the file of one of them is wrong.
    """
    paths = _profile_paths(root)
    return [_read(paths[name]) for name in sorted(paths)]


def _profile_paths(root: Path) -> dict[str, Path]:
    """Path of each profile by name; the first folder that has a name wins."""
    paths: dict[str, Path] = {}
    for folder in lookup_dirs(KIND, root):
        for path in sorted(folder.glob("*.toml")):
            paths.setdefault(path.stem, path)
    return paths


def _read(path: Path) -> DeviceProfile:
    profile = load_toml(DeviceProfile, path)
    if profile.name != path.stem:
        raise ConfigError(f"{path}: 'name': must equal the name of the file, '{path.stem}', got '{profile.name}'")
    return profile
