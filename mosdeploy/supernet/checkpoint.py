"""Supernets, subnets that were trained alone, and training states on disk.

In: a network or a dictionary of tensors and plain values. Out: a file that is whole or not there,
and that is checked before a byte of it is used: members against their checksums, `weights_only`,
kind and version, shapes.
"""

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..config.sections import SupernetConfig
from ..errors import ArchError, ConfigError, StaleInputError
from ..families.translation.network import Subnet
from ..record import parse
from ..spaces.genes import ArchConfig, SearchSpace
from ..storage import atomic_write
from .supernet import Supernet

VERSION = 1
MADE_BY = {
    "supernet": "`mosdeploy train`",
    "subnet": "`mosdeploy finetune`",
    "training state": "the same command",
}

_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    LookupError,
    TypeError,
    ValueError,
)
"""What zipfile and torch raise on a file that is not what was written."""


def save_supernet(path: Path, net: Supernet) -> None:
    """Write a supernet with everything that is needed to build it again.

    Raises
    ------
    MosdeployError
        If the disk is full or read-only; an older file is then left as it was.
    """
    content = {
        "space": net.space.model_dump(mode="json"),
        "config": net.config.model_dump(mode="json"),
        "vocab_size": net.vocab_size,
        "pad_id": net.pad_id,
        "weights": net.state_dict(),
    }
    _write(path, "supernet", content)


def load_supernet(path: Path) -> Supernet:
    """Read a supernet, on the CPU and in eval mode.

    Raises
    ------
    StaleInputError
        If the file is missing, damaged, of another kind or of another version.
    """
    content = _read(path, "supernet")
    try:
        space = parse(SearchSpace, content["space"], str(path))
        config = parse(SupernetConfig, content["config"], str(path))
        net = Supernet(space, content["vocab_size"], config, content["pad_id"])
        net.load_state_dict(content["weights"])
    except (ConfigError, *_DAMAGE) as error:
        raise _corrupt(path, "supernet", error) from error
    return net.eval()


def save_subnet(path: Path, subnet: Subnet) -> None:
    """Write the weights of a subnet that was trained alone; what shapes it is known to whoever
    reads it.

    Raises
    ------
    MosdeployError
        If the disk is full or read-only; an older file is then left as it was.
    """
    _write(
        path,
        "subnet",
        {"arch": subnet.arch.model_dump(mode="json"), "weights": subnet.state_dict()},
    )


def load_subnet(path: Path, net: Supernet) -> Subnet:
    """Read a subnet of the space and vocabulary of a supernet, on the CPU and in eval mode.

    Raises
    ------
    StaleInputError
        If the file is missing, damaged, of another kind or of another version, or does not fit the
        supernet's space.
    """
    content = _read(path, "subnet")
    try:
        subnet = net.skeleton(parse(ArchConfig, content["arch"], str(path)))
        subnet.load_state_dict(content["weights"], assign=True)
    except (ArchError, ConfigError, *_DAMAGE) as error:
        raise _corrupt(path, "subnet", error) from error
    return subnet.eval()


def save_training_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values (numbers, strings, lists, dicts), as `load_training_state`
    gives them back.

    Raises
    ------
    MosdeployError
        If the disk is full or read-only; an older file is then left as it was.
    """
    _write(path, "training state", dict(state))


def load_training_state(path: Path) -> dict[str, Any]:
    """Read what `save_training_state` wrote, tensors on the CPU.

    Raises
    ------
    StaleInputError
        If the file is missing, damaged, of another kind or of another version.
    """
    return _read(path, "training state")


def _write(path: Path, kind: str, content: dict[str, Any]) -> None:
    buffer = (
        io.BytesIO()
    )  # torch turns a full disk into a RuntimeError of its own, memory it does not
    torch.save({"kind": kind, "version": VERSION, "content": content}, buffer)
    atomic_write(path, buffer.getvalue())


def _read(path: Path, kind: str) -> dict[str, Any]:
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise StaleInputError(f"{path} does not exist; run {MADE_BY[kind]} first") from error
    with file:
        try:
            damaged = zipfile.ZipFile(
                file
            ).testzip()  # torch.load itself does not look at the checksums
            if damaged is not None:
                raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
            file.seek(0)
            data = torch.load(file, map_location="cpu", weights_only=True)
            found = (data["kind"], data["version"])
        except _DAMAGE as error:
            raise _corrupt(path, kind, error) from error
    if found != (kind, VERSION):
        raise StaleInputError(
            f"{path} is a {found[0]}, version {found[1]}, where a {kind}, version {VERSION}, is needed;"
            f" delete it and run {MADE_BY[kind]} again"
        )
    content: dict[str, Any] = data["content"]
    return content


def _corrupt(path: Path, kind: str, error: Exception) -> StaleInputError:
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return StaleInputError(
        f"{path} is corrupt ({reason[0]}); delete it and run {MADE_BY[kind]} again"
    )
