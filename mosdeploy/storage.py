"""Files and folders that are whole or not there: atomic writes, JSON Lines, fingerprints, locks."""

import contextlib
import ctypes
import errno
import fcntl
import fnmatch
import glob
import hashlib
import json
import logging
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import IO, Any, TypeVar

from .errors import (
    ConfigError,
    MosdeployError,
    StaleInputError,
    UnknownKeyError,
    UnreadableError,
)
from .record import Record, load_json, parse

_log = logging.getLogger(__name__)

R = TypeVar("R", bound=Record)


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    with read_errors(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Turn the failure of reading a file into a StaleInputError that names it."""
    try:
        yield
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        kind = StaleInputError if is_missing else UnreadableError
        raise kind(f"{path} cannot be read: {error.strerror or error}") from error


def read_bytes(path: Path, made_by: str) -> bytes:
    """Read a file that a command makes."""
    try:
        with read_errors(path):
            return path.read_bytes()
    except StaleInputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise StaleInputError(f"{path} does not exist; run {made_by} first") from error
        raise


def fingerprint(*parts: Record | str | int | float | None) -> str:
    """Hex SHA-256 over records and plain values: the same content gives the same digits in every
    process.
    """
    data = [part.model_dump(mode="json") if isinstance(part, Record) else part for part in parts]
    return sha256_bytes(json.dumps(data, sort_keys=True, separators=(",", ":")).encode())


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a MosdeployError that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise MosdeployError(
                f"no space left to write {path}; what was finished before is kept: "
                "free some space and run the same command again"
            ) from error
        raise MosdeployError(f"cannot write {path}: {error.strerror or error}") from error


def atomic_write(path: Path, data: bytes | str) -> None:
    """Write a file whole or not at all, as `atomic_file` does."""
    with atomic_file(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes its place at the end of the block, whole or not at all, even if the
    power fails: temporary file beside it, fsync, rename, fsync of the folder.
    """
    _log.debug("writing %s", path)
    with disk_errors(path):
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        make_folder(target.parent)
        _remove_partials(target)
        with _partial(target) as (partial, file):
            with contextlib.suppress(FileNotFoundError):
                os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
            partial.replace(target)
        sync(target.parent)


@contextlib.contextmanager
def _partial(target: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A new file beside another, locked as long as it is open, removed if it is not renamed."""
    while True:
        partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
        with partial.open("xb") as file:
            try:
                # where the file system knows no locks, leftovers are not removed either
                with contextlib.suppress(OSError):
                    fcntl.flock(file, fcntl.LOCK_EX)
                # a writer that looked for leftovers may have taken it for one before it was locked
                if os.fstat(file.fileno()).st_nlink:
                    yield partial, file
                    return
            finally:
                partial.unlink(missing_ok=True)


def _remove_partials(target: Path) -> None:
    """Remove what killed writers of a file left: what no process holds locked."""
    for partial in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
        with contextlib.suppress(OSError), partial.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()


def atomic_copy(source: Path, path: Path) -> None:
    """Copy a file, in pieces, to where it is whole or not at all."""
    with read_errors(source), source.open("rb") as file, atomic_file(path) as target:
        while True:
            with read_errors(source):
                block = file.read(1 << 20)
            if not block:
                break
            target.write(block)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, each with its name on the disk; one that is there
    is left.
    """
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def readable_record(model: type[R], path: Path) -> R | None:
    """Read one record; None where it is damaged, or where none is."""
    try:
        return read_record(model, path, "")
    except UnreadableError:  # what is there may be whole
        raise
    except StaleInputError:
        return None


def write_record(path: Path, record: Record) -> None:
    """Write one record as indented JSON, atomically."""
    atomic_write(path, record.model_dump_json(indent=2) + "\n")


def read_record(model: type[R], path: Path, made_by: str) -> R:
    """Read one record."""
    try:
        data = load_json(read_bytes(path, f"`{made_by}`").decode())
        _check_version(model, data, path, made_by)
        return parse(model, data, str(path))
    except UnknownKeyError as error:
        what = str(error).removeprefix(f"{path}: ")
        raise StaleInputError(
            f"{path} was made by another version of mosdeploy ({what}); update mosdeploy, or run "
            f"`{made_by}` again"
        ) from error
    except ConfigError as error:
        raise StaleInputError(f"{error}; delete it and run `{made_by}` again") from error
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or made to be too much
        raise StaleInputError(
            f"{path} is corrupt ({error}); delete it and run `{made_by}` again"
        ) from error


def _check_version(model: type[Record], data: Any, path: Path, made_by: str) -> None:
    """Refuse the record of another version by name, rather than by the first field that differs."""
    field = model.model_fields.get("version")
    found = data.get("version") if isinstance(data, dict) else None
    # a version that is no number is left to the validation
    if field is None or type(found) is not int or found == field.default:
        return
    age, update = (
        ("an older", "") if found < field.default else ("a newer", "update mosdeploy, or ")
    )
    raise StaleInputError(
        f"{path} was made by {age} mosdeploy (version {found}, needed is {field.default}); {update}"
        f"run `{made_by}` again"
    )


def append_line(path: Path, data: Any) -> None:
    """Append one JSON line and force it to disk; a torn last line left by a kill is cut off
    first.
    """
    line = (
        data.model_dump_json() if isinstance(data, Record) else json.dumps(data)
    ).encode() + b"\n"
    with disk_errors(path):
        make_folder(path.parent)
        # unbuffered: closing must not write a rest after the truncation
        with path.open("ab+", buffering=0) as file:
            end = _whole_lines_end(file)
            file.truncate(end)
            try:
                rest = memoryview(line)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise
        if not end:  # it may be new
            sync(path.parent)


def read_lines(path: Path) -> tuple[list[bytes], bool]:
    """All whole lines of a JSON Lines file, and whether a torn last line was left out."""
    if not path.exists():
        return [], False
    with read_errors(path):
        content = path.read_bytes()
    *whole, rest = content.split(b"\n")
    return [line for line in whole if line], bool(rest)


def _whole_lines_end(file: FileIO) -> int:
    """Offset just past the last line end, read backwards in blocks; the file is not changed."""
    position = file.seek(0, os.SEEK_END)
    while position > 0:
        start = max(0, position - 65536)
        file.seek(start)
        cut = file.read(position - start).rfind(b"\n")
        if cut >= 0:
            return start + cut + 1
        position = start
    return 0


@contextlib.contextmanager
def locked(path: Path, busy: MosdeployError, wait_s: float = 0.0) -> Iterator[None]:
    """Hold an exclusive lock beside a file for as long as the block runs; the kernel frees it when
    the process dies.
    """
    # flock itself and not the package filelock: where a file system knows no flock, that falls back
    # to a marker file, which outlives a killed process
    with disk_errors(path):
        make_folder(path.parent)
        file = (path.parent / f".{path.name}.lock").open("w")
    with file:
        with disk_errors(path):
            end_s = time.monotonic() + wait_s
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= end_s:
                        raise busy from None
                time.sleep(0.1)
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of `locked` beside a file; nothing is written."""
    try:
        with (path.parent / f".{path.name}.lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # nobody ever held it
        return False
    return False


def listed(folder: Path, pattern: str) -> list[Path]:
    """The paths below a folder that match a pattern, sorted; none where there is no folder."""
    found = [folder]
    with read_errors(folder):
        for part in Path(pattern).parts:
            entries = [path for parent in found for path in _entries(parent)]
            found = [path for path in entries if fnmatch.fnmatchcase(path.name, part)]
    return sorted(path for path in found if path.is_dir() or not pattern.endswith("/"))


def _entries(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry) for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []


def replace_folder(new: Path, target: Path) -> None:
    """Put a new folder in the place of another, if there is one, in one step, even if the power
    fails; the other is then where the new one was.
    """
    restore_folder(target)
    # a rename can reach the disk before the content of what is renamed
    for path in (*new.rglob("*"), new):
        sync(path)
    if not target.exists():
        new.rename(target)
    elif not _exchange(new, target):  # a file system, such as NFS, that can only rename
        aside = _aside(target)
        try:
            target.rename(aside)
            new.rename(target)
            sync(target.parent)
            aside.rename(new)
        except BaseException:
            restore_folder(target)
            raise
    sync(target.parent)


def restore_folder(target: Path) -> None:
    """Put back what a replacement moved aside that was killed before the new folder had taken the
    place; if it had, what was moved aside is removed.
    """
    aside = _aside(target)
    if not aside.exists():
        return
    if target.exists():
        shutil.rmtree(aside)
    else:
        aside.rename(target)
        sync(target.parent)


def remove_scratch(target: Path) -> None:
    """Remove the folders `.NAME.*` beside a folder, which a killed command made to fill and
    left.
    """
    for left in target.parent.glob(f".{glob.escape(target.name)}.*/"):
        shutil.rmtree(left)


def _aside(target: Path) -> Path:
    # beside the folder, and under no name that is removed with what a killed command left
    return target.with_name(f".aside-{target.name}")


def _exchange(first: Path, second: Path) -> bool:
    """Swap two paths in one step; False where the file system cannot."""
    at_fdcwd = -100  # Linux, <fcntl.h>: relative to the working folder
    rename_exchange = 2  # <linux/fs.h>
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        return False
    paths = (at_fdcwd, os.fsencode(first), at_fdcwd, os.fsencode(second))
    if library.renameat2(*paths, rename_exchange) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), str(second))
