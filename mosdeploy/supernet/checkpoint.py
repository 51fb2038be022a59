"""Supernets, subnets that were trained alone, and training states on disk."""

import contextlib
import errno
import hashlib
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..config.sections import SupernetConfig
from ..errors import ArchError, ConfigError, StaleInputError
from ..record import parse
from ..spaces.genes import ArchConfig, SearchSpace
from ..storage import atomic_file, read_errors
from .elastic import StateDict, Subnet
from .supernet import Supernet


def content(tensor: Tensor) -> memoryview:
    """The bytes of a tensor, row by row."""
    flat = tensor.detach().cpu().contiguous().flatten()
    # as bytes, which numpy has for every type of tensor
    found: memoryview = flat.view(torch.uint8).numpy().data
    return found


# of all three kinds of file; a file of another version is refused, not converted
VERSION = 2
MADE_BY = {
    "supernet": "`mosdeploy train`",
    "subnet": "`mosdeploy finetune`",
    "training state": "the same command",
}

_ENTRY = "mosdeploy"
"""Of a safetensors file's metadata: ours, as one JSON object."""

FreshSupernet = Callable[[Any, int, SupernetConfig, int], Supernet]
"""Makes a supernet of a space, the rows of its embedding table, a config and a seed; a family's."""

_DAMAGE = (
    ArchError,
    ConfigError,
    safetensors.SafetensorError,
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
"""What safetensors, zipfile, torch and the builder of a network raise on a file that is not what
was written.
"""


def save_supernet(path: Path, net: Supernet) -> None:
    """Write a supernet with everything that is needed to build it again."""
    metadata = {
        "space": net.space.model_dump_json(),
        "vocab_size": str(net.vocab_size),
        "config": net.config.model_dump_json(),
    }
    _write_network(path, "supernet", metadata, net)


def load_supernet(path: Path, space_type: type[SearchSpace], fresh: FreshSupernet) -> Supernet:
    """Read a supernet, on the CPU and in eval mode."""
    metadata, weights = _read_network(path, "supernet")
    with _damage_errors(path, "supernet"):
        space = parse(space_type, json.loads(metadata["space"]), "space")
        config = parse(SupernetConfig, json.loads(metadata["config"]), "config")
        # any seed will do: the file's weights replace what is drawn
        net = fresh(space, int(metadata["vocab_size"]), config, 0)
        # strict: a weight that is missing, left over or of another shape raises RuntimeError, which
        # is in _DAMAGE
        net.load_state_dict(weights)
    return net.eval()


def save_subnet(path: Path, subnet: Subnet) -> None:
    """Write the weights of a subnet that was trained alone, and its architecture."""
    _write_network(path, "subnet", {"arch": subnet.arch.model_dump_json()}, subnet)


def load_subnet(path: Path, space: SearchSpace, skeleton: Callable[[ArchConfig], Subnet]) -> Subnet:
    """Read a subnet of a space, on the CPU and in eval mode."""
    metadata, weights = _read_network(path, "subnet")
    with _damage_errors(path, "subnet"):
        arch = parse(space.arch_type, json.loads(metadata["arch"]), str(path))
        subnet = skeleton(arch)  # on the meta device: it takes the file's tensors as its own
        subnet.load_state_dict(weights, assign=True)
    return subnet.eval()


class _Target:
    """A file for torch to write into, which turns a full disk into a RuntimeError of its own; this
    keeps the error of the disk.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def save_training_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values (numbers, strings, lists, dicts), as `load_training_state`
    gives them back.
    """
    content = {"kind": "training state", "version": VERSION, "content": dict(state)}
    with atomic_file(path) as file:
        target = _Target(file)
        try:
            # tensor by tensor, so that there is no second copy of all
            torch.save(content, target)  # type: ignore[arg-type]  # it calls these two methods
        except RuntimeError:
            if target.error is None:
                raise
            raise target.error from None


def load_training_state(path: Path) -> dict[str, Any]:
    """Read what `save_training_state` wrote, tensors on the CPU."""
    kind = "training state"
    _check_readable(path, kind)
    with _damage_errors(path, kind):
        # torch.load itself does not look at the checksums
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        # weights_only: any other pickle runs the code that it names
        data = torch.load(path, map_location="cpu", weights_only=True)
        found = (data["kind"], data["version"])
    _check_found(path, found, kind)
    content: dict[str, Any] = data["content"]
    return content


def _write_network(path: Path, kind: str, metadata: dict[str, str], net: torch.nn.Module) -> None:
    weights = net.state_dict()
    whole = {name: tensor.contiguous() for name, tensor in weights.items()}
    metadata = {"kind": kind, "version": str(VERSION), **metadata}
    metadata["sha256"] = _digest(metadata, weights)
    # one entry: where safetensors writes several, they come in any order
    entry = {_ENTRY: json.dumps(metadata, sort_keys=True)}
    with atomic_file(path) as file:
        file.write(safetensors.torch.save(whole, entry))


def _read_network(path: Path, kind: str) -> tuple[dict[str, str], StateDict]:
    _check_readable(path, kind)
    with _damage_errors(path, kind):
        with safetensors.safe_open(path, framework="pt") as file:
            # a safetensors file of another program may have no metadata; the missing keys below
            # count as damage
            metadata: dict[str, str] = json.loads((file.metadata() or {})[_ENTRY])
            weights: StateDict = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        found = (metadata["kind"], int(metadata["version"]))
    # before the checksum: another version may compute it in another way, and is not corrupt
    _check_found(path, found, kind)
    if metadata.pop("sha256", "") != _digest(metadata, weights):
        raise _corrupt(path, kind, ValueError("wrong checksum"))
    return metadata, weights


def _digest(metadata: Mapping[str, str], weights: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 of all that a network's file holds."""
    # sorted here and below: safetensors hands metadata back in any order
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(content(tensor))
    return digest.hexdigest()


def _check_readable(path: Path, kind: str) -> None:
    try:
        # safetensors does not tell why it cannot open or read a file
        with read_errors(path), path.open("rb") as file:
            file.read(1)
    except StaleInputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise StaleInputError(f"{path} does not exist; run {MADE_BY[kind]} first") from error
        raise


@contextlib.contextmanager
def _damage_errors(path: Path, kind: str) -> Iterator[None]:
    """Turn what a damaged file leads to into a StaleInputError that says to delete it, and the
    failure of reading it into one that does not; a lack of memory stays what it is.
    """
    with read_errors(path):
        try:
            yield
        except _DAMAGE as error:
            if not _is_damage(error):
                raise
            raise _corrupt(path, kind, error) from error


def _is_damage(error: Exception) -> bool:
    """Whether it is the file that is to blame, and neither the disk nor a lack of memory."""
    if isinstance(error, OSError):
        # a wrong offset leads to before the beginning
        return error.errno == errno.EINVAL
    # torch has no class of its own for a lack of memory of the CPU
    return "allocate memory" not in str(error)


def _check_found(path: Path, found: tuple[str, int], kind: str) -> None:
    if found != (kind, VERSION):
        raise StaleInputError(
            f"{path} is a {found[0]}, version {found[1]}, where a {kind}, version {VERSION}, is "
            f"needed; delete it and run {MADE_BY[kind]} again"
        )


def _corrupt(path: Path, kind: str, error: Exception) -> StaleInputError:
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return StaleInputError(
        f"{path} is corrupt ({reason[0]}); delete it and run {MADE_BY[kind]} again"
    )
