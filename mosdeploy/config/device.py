"""Devices: how to reach one, what runs there, how it is measured; one TOML file a device."""

import posixpath
from pathlib import Path
from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from ..errors import ConfigError
from ..printable import likely
from ..record import Name, Record, parse, read_toml
from ..spaces.spec import Precision
from .lookup import lookup_dirs
from .units import Statistic, Timeout

TAIL_REPEATS: dict[Statistic, int] = {"p90": 50, "p99": 200}
"""Repeats of a model that is held to a limit on a tail of its times, at least."""


class MeasureProtocol(Record):
    """How subnets are timed on the device.

    Each is timed in `rounds` rounds over all of them, each time in a fresh process, and the median
    over its rounds counts. In a round repeats go on until the 95% interval of the median is within
    `precision_percent` of it, or until `max_time_s` is spent; `warmup` runs and `min_repeats` are
    made however long they take. Repeats of a fast subnet go on for `min_time_s`, so that no short
    disturbance fills them all, or until there are `max_repeats`. A stretch of `reference_every`
    subnets is measured again if the reference subnet, timed before and after it, moved by more than
    `max_drift_percent`, from one to the other or from its usual time. `cpu_affinity` keeps the
    process on as many processors as the workload has threads; the bundle itself runs where the
    system puts it.
    """

    rounds: int = Field(1, ge=1, le=99)
    warmup: int = Field(3, ge=1, le=10_000)
    min_repeats: int = Field(10, ge=10)
    max_repeats: int = Field(200, ge=10, le=10_000)
    precision_percent: float = Field(2.0, gt=0)
    min_time_s: float = Field(0.2, ge=0)
    max_time_s: float = Field(5.0, gt=0)
    reference_every: int = Field(10, ge=1)
    max_drift_percent: float = Field(2.0, gt=0)
    cpu_affinity: bool = False
    candidate_timeout_s: Timeout = 120.0

    @model_validator(mode="after")
    def _bounds_go_together(self) -> Self:
        if self.max_repeats < self.min_repeats:
            raise ValueError(
                f"max_repeats is {self.max_repeats}, less than min_repeats, which is "
                f"{self.min_repeats}"
            )
        if self.min_time_s > self.max_time_s:
            raise ValueError(
                f"min_time_s is {self.min_time_s:g}, more than max_time_s, which is "
                f"{self.max_time_s:g}"
            )
        # `warmup` runs and `min_repeats` of a slow model take longer, which no protocol can know
        if self.candidate_timeout_s <= 2 * self.max_time_s:
            raise ValueError(
                f"candidate_timeout_s is {self.candidate_timeout_s:g}, but the warm-up and the "
                f"repeats may each take max_time_s: raise it above {2 * self.max_time_s:g}"
            )
        return self


class DeviceProfile(Record):
    """How to reach a device, what to run there and how to measure; holds no secrets.

    `host` is an alias of the user's ssh_config, where user, port, key and jump host belong.
    `requirements` are packages that every model needs there; those of a family come on top.
    `precisions` are those that `export --precision auto` tries there.
    """

    name: Name
    description: str = ""
    kind: Literal["local", "ssh"] = "ssh"
    host: Name | None = None
    python: str = "python3"
    work_dir: str = "~/.cache/mosdeploy"
    provider: str = "CPUExecutionProvider"
    requirements: tuple[str, ...] = ("numpy", "onnxruntime")
    machine: Literal["x86_64", "aarch64"] | None = None
    llvm_cpu: str | None = None
    wheel_platform: str | None = None
    wheel_python: str | None = None
    connect_timeout_s: Timeout = 10.0
    command_timeout_s: Timeout = 60.0
    emulated: bool = False
    precisions: tuple[Precision, ...] = Field(get_args(Precision), min_length=1)
    measure: MeasureProtocol = MeasureProtocol()

    @model_validator(mode="after")
    def _can_be_used(self) -> Self:
        if self.kind == "local" and self.host is not None:
            raise ValueError(
                f"host is '{self.host}', but kind \"local\" is this machine; leave host out, or "
                'write kind = "ssh"'
            )
        for key in ("python", "provider"):
            if not getattr(self, key).strip():
                raise ValueError(f"{key} is empty; leave it out for the usual one")
        # a device's own home folder, written in full, is refused where it is known
        place = self.work_dir
        is_rooted = place.startswith(("/", "~/"))
        is_below = bool(posixpath.normpath(place.removeprefix("~")).strip("/"))
        if not (is_rooted and is_below) or "\n" in place or "\r" in place:
            raise ValueError(
                f"work_dir is {place!r}; write the path of a folder of mosdeploy's own on one "
                "line, from / or ~/, such as ~/.cache/mosdeploy"
            )
        wrong = [x for x in self.requirements if not x.strip() or x.strip().startswith("-")]
        if wrong:
            raise ValueError(
                f"requirements: {wrong[0]!r} is no package; write names as pip takes them, without "
                "options, such as onnxruntime==1.24.1"
            )
        return self

    @property
    def host_alias(self) -> str:
        """What names the board that is reached: `host`, or the profile's own name."""
        return self.host or self.name

    @property
    def cli_name(self) -> str:
        """How a command line of `mosdeploy devices` names the board: `rpi`, or `rpi@pi2`."""
        return self.name if self.host_alias == self.name else f"{self.name}@{self.host_alias}"

    @property
    def board(self) -> str:
        """How messages name the board: `rpi`, or `rpi (pi2)` where its host has another name.

        Examples
        --------
        >>> DeviceProfile(name="rpi", host="pi2").board
        'rpi (pi2)'
        """
        return self.name if self.host_alias == self.name else f"{self.name} ({self.host_alias})"

    def timed_for(self, statistic: Statistic) -> "DeviceProfile":
        """The same profile, with as many repeats as a figure of the times needs: of ten, the p99 is
        nearly the longest, and most of what happens once in a hundred runs is not among them.

        Examples
        --------
        >>> DeviceProfile(name="pi").timed_for("p99").measure.min_repeats
        200
        """
        measure = self.measure
        least = max(TAIL_REPEATS.get(statistic, 0), measure.min_repeats)
        update = {
            "min_repeats": least,
            "max_repeats": max(least, measure.max_repeats),
            "candidate_timeout_s": measure.candidate_timeout_s * least / measure.min_repeats,
        }
        return self.model_copy(update={"measure": measure.model_copy(update=update)})


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
        If there is no such profile (the known ones are named), or its file is wrong or cannot be
        read.
    """
    paths = _profile_paths(root)
    if name not in paths:
        raise ConfigError(
            f"unknown device '{name}'; {likely(name, paths)}known devices: "
            f"{', '.join(sorted(paths)) or 'none'}; "
            f"`mosdeploy devices add NAME --host ALIAS` writes a new one, {root / KIND}/NAME.toml"
        )
    return _read(paths[name])


def with_host(profile: DeviceProfile, host: str) -> DeviceProfile:
    """The profile of another board of the same kind."""
    if profile.kind == "local":
        raise ConfigError(
            f"'{profile.name}' is this machine, which has no host '{host}'; choose a device behind "
            "SSH"
        )
    return parse(
        DeviceProfile,
        {**profile.model_dump(), "host": host},
        f"device '{profile.name}' on '{host}'",
    )


def list_profiles(root: Path) -> list[DeviceProfile]:
    """Every device profile that `load_profile` would find, sorted by name."""
    paths = _profile_paths(root)
    return [_read(paths[name]) for name in sorted(paths)]


def _profile_paths(root: Path) -> dict[str, Path]:
    """Path of each profile by name; the first folder that has a name wins."""
    paths: dict[str, Path] = {}
    for folder in lookup_dirs(KIND, root):
        try:
            found = sorted(folder.glob("*.toml"))
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be read: {error.strerror}") from error
        for path in found:
            paths.setdefault(path.stem, path)
    return paths


def _read(path: Path) -> DeviceProfile:
    profile = parse(DeviceProfile, read_toml(path), str(path))
    if profile.name != path.stem:
        raise ConfigError(
            f"{path}: 'name': must equal the name of the file, '{path.stem}', got '{profile.name}'"
        )
    return profile
