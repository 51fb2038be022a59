"""Run commands and move files over a connection that is logged in."""

import contextlib
import io
import logging
import posixpath
import re
import secrets
import select
import shlex
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import paramiko

from ...errors import (
    CommandError,
    CommandTimeoutError,
    ConnectionLostError,
    DeviceError,
    DeviceTimeoutError,
)
from ...printable import printable
from ...storage import read_errors, sha256_bytes, sha256_file
from .. import session as device
from ..session import CommandResult, Session, last_lines, no_space

_log = logging.getLogger(__name__)

MAX_READ_BACK_BYTES = 1 << 16
"""Larger files are checked by a command on the device, which costs more than a few reads: these
wait for one another, each for as long as the link takes to and fro.
"""
CHUNK_BYTES = 32 * 1024  # one large send is fifty times slower than many of this size
# what a command prints first: its process group
_PRINT_GROUP = "echo mosdeploy-group:$$"
_GROUP = re.compile(rb"mosdeploy-group:(\d{1,10})\n")
_GRACE_S = 5.0  # for ending a command that ran into its time-out, or was interrupted


class SSHSession(Session):
    """A device behind SSH, logged in; made by `login`."""

    def __init__(
        self, name: str, clients: Sequence[paramiko.SSHClient], command_timeout_s: float
    ) -> None:
        self.name = name
        self.checked_dirs = set[str]()
        self._clients = clients
        self._transport = clients[-1].get_transport()
        self._timeout_s = command_timeout_s
        self._sftp: paramiko.SFTPClient | None = None
        self._home: str | None = None
        self._known_dirs: set[str] = set()

    # -- commands ----------------------------------------------------------------------------------

    def run(self, command: Sequence[str] | str, timeout_s: float | None = None) -> CommandResult:
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        text = command if isinstance(command, str) else shlex.join(command)
        _log.debug("running on the device: %s", text[:200])
        # The braces keep `sh` running under the command, so that a signal becomes an exit status
        # and -1 means that the connection was cut.
        script = f"{_PRINT_GROUP}; {{ {text}\n}}; exit $?"
        self._known_dirs.clear()  # it may remove some
        with self._bounded(f"`{text[:200]}`", limit_s + _GRACE_S):
            channel = self._open_channel()
            output = CommandOutput(channel)
            with contextlib.closing(channel):
                try:
                    channel.exec_command(f"exec sh -c {shlex.quote(script)}")
                    channel.shutdown_write()
                    ended = output.collect(time.monotonic() + limit_s)
                    what = f"the output of `{text[:200]}`"
                    device.refuse_too_long(output.num_bytes, self.name, what)
                    if not ended:
                        raise CommandTimeoutError(
                            f"{self.name}: `{text[:200]}` did not end within {limit_s:g} s"
                        )
                except BaseException as error:  # Ctrl-C, too
                    is_killed = False
                    with contextlib.suppress(Exception):
                        output.collect(time.monotonic() + _GRACE_S, until_group=True)
                        is_killed = self._kill(output.group)
                    if isinstance(error, CommandTimeoutError) and not is_killed:
                        raise DeviceTimeoutError(str(error)) from error
                    raise
                status = channel.exit_status
        if status == -1:
            raise ConnectionLostError(
                f"{self.name}: the connection was lost while `{text[:200]}` ran"
            )
        return CommandResult(*output.text(), status)

    def home(self) -> str:
        if self._home is None:
            result = self.run('printf %s "$HOME"')
            home = result.stdout
            if result.returncode != 0:
                raise CommandError(
                    f"{self.name}: the login shell there does not run `sh -c`: "
                    f"{last_lines(result)}; give the user a plain shell there (chsh -s /bin/sh)"
                )
            if not home.startswith("/") or printable(home) != home:
                raise CommandError(
                    f"{self.name}: $HOME is {home!r} there; it must be an absolute path"
                )
            self._home = home
        return self._home

    def _kill(self, group: int | None) -> bool:
        """End a process group, since closing its channel would leave it running; tell whether the
        device did that.
        """
        if not group:
            return False
        with contextlib.closing(self._open_channel(_GRACE_S)) as channel:
            channel.exec_command(f"kill -9 -{group}")
            return channel.status_event.wait(_GRACE_S)

    def _open_channel(self, timeout_s: float | None = None) -> paramiko.Channel:
        if self._transport is None or not self._transport.is_active():
            raise ConnectionLostError(f"{self.name}: the connection is closed")
        return self._transport.open_session(timeout=timeout_s or self._timeout_s)

    # -- files -------------------------------------------------------------------------------------

    def put(self, local_path: Path, remote_path: str) -> None:
        digest = sha256_file(local_path)
        with read_errors(local_path):
            opened = local_path.open("rb")
        with opened as source:
            self._store(source, local_path.stat().st_size, digest, remote_path)

    def put_bytes(self, data: bytes, remote_path: str) -> None:
        self._store(io.BytesIO(data), len(data), sha256_bytes(data), remote_path)

    def read(self, remote_path: str, offset: int = 0) -> bytes:
        problem = f"cannot read {remote_path}"
        with (
            self._bounded(f"reading {remote_path}", self._timeout_s, problem),
            self._files().open(remote_path, "rb") as file,
        ):
            file.seek(offset)
            return bytes(device.read_bounded(file, self.name, remote_path))

    def _store(self, source: BinaryIO, size: int, digest: str, remote_path: str) -> None:
        """Upload a file by way of a part file, and once more if that comes to nothing."""
        for name in (digest[:16], secrets.token_hex(8)):
            part = f"{remote_path}.{name}.part"
            try:
                self._send(source, part, size)
                if self._is_whole(part, size, digest):
                    with self._bounded(
                        f"renaming {part}", self._timeout_s, f"cannot write {remote_path}"
                    ):
                        return self._files().posix_rename(part, remote_path)
                problem = CommandError(
                    f"{self.name}: {remote_path} arrived damaged twice; check the device's disk "
                    "and memory"
                )
            except FileNotFoundError as error:  # the part file or its folder went away
                problem = CommandError(f"{self.name}: cannot write {remote_path}: {error}")
            except CommandError as error:
                problem = error
            self._remove(part)
            if self._is_whole(remote_path, size, digest):  # by another upload
                return None
            self._refuse_full_disk(posixpath.dirname(part), size)
        raise problem

    def _send(self, source: BinaryIO, part: str, size: int) -> None:
        """Bring a part file to its full size, from where an earlier upload was cut."""
        folder = posixpath.dirname(part)
        problem = f"cannot write to {folder}; check its owner and permissions"
        with self._bounded(f"uploading {part}", None, problem):
            self._make_dirs(folder)
            offset = self._size(part)
            # nothing is cut off: another upload may have found the file whole just now
            with self._files().open(part, "wxb" if offset is None else "r+b") as target:
                target.set_pipelined(True)
                target.seek(offset or 0)
                source.seek(offset or 0)
                while chunk := source.read(CHUNK_BYTES):
                    target.write(chunk)
            if self._size(part) != size:
                raise OSError("short file")

    def _is_whole(self, path: str, size: int, digest: str) -> bool:
        """Tell whether a file holds what was sent."""
        if size <= MAX_READ_BACK_BYTES:
            with contextlib.suppress(FileNotFoundError, CommandError):
                return sha256_bytes(self.read(path)) == digest
            return False
        path = shlex.quote(path)
        result = self.run(f"sha256sum {path} || shasum -a 256 {path}")
        return result.stdout.startswith(digest)

    def _refuse_full_disk(self, folder: str, size: int) -> None:
        """Raise if the disk is full, which SFTP reports just as "Failure"."""
        listing = self.run(f"df -Pk {shlex.quote(folder)} | tail -n 1").stdout.split()
        if len(listing) > 3 and listing[3].isdecimal():
            free_bytes = int(listing[3][:18]) * 1024
            if free_bytes < size + 64 * 1024:
                raise no_space(self.name, folder, free_bytes, size)

    def _size(self, path: str) -> int | None:
        try:
            return self._files().stat(path).st_size or 0
        except FileNotFoundError:
            return None

    def _make_dirs(self, path: str) -> None:
        if path in self._known_dirs or path == "/":
            return
        if self._size(path) is None:
            self._make_dirs(posixpath.dirname(path))
            with contextlib.suppress(OSError):  # another process may have made it meanwhile
                self._files().mkdir(path)
        self._known_dirs.add(path)

    def _remove(self, path: str) -> None:
        with self._bounded(f"removing {path}", self._timeout_s), contextlib.suppress(OSError):
            self._files().remove(path)

    def _files(self) -> paramiko.SFTPClient:
        if self._sftp is None:
            channel = self._open_channel()
            try:
                channel.invoke_subsystem("sftp")
                self._sftp = paramiko.SFTPClient(channel)
            # an OSError where the channel was closed before the first message
            except (paramiko.SSHException, OSError) as error:
                self._open_channel().close()  # fails if it was the connection that was lost
                raise CommandError(
                    f"{self.name}: the device has no SFTP server: install openssh-sftp-server "
                    "there, or name it as `Subsystem sftp` in its sshd_config"
                ) from error
            channel.settimeout(self._timeout_s)
        return self._sftp

    # -- the connection ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def _bounded(self, what: str, limit_s: float | None, problem: str = "") -> Iterator[None]:
        """Close the connection if the block takes longer than `limit_s`, and translate paramiko's
        errors; `problem` describes one of the device's file system.
        """
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self.close()

        timer = threading.Timer(limit_s, expire) if limit_s is not None else None
        if timer:
            timer.daemon = True
            timer.start()
        try:
            yield
        except (DeviceError, FileNotFoundError):
            if not expired.is_set():
                raise
            raise DeviceTimeoutError(
                f"{self.name}: no answer to {what} within {limit_s:g} s"
            ) from None
        except paramiko.SFTPError as error:
            raise CommandError(
                f"{self.name}: SFTP does not work there ({error}): does ~/.bashrc print something? "
                "Guard it: put `[ -t 0 ] || return` at its top"
            ) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            # paramiko reports "Timeout opening channel" as a plain SSHException
            if expired.is_set() or isinstance(error, TimeoutError) or "Timeout" in str(error):
                wait_s = self._timeout_s if limit_s is None else limit_s
                raise DeviceTimeoutError(
                    f"{self.name}: no answer to {what} within {wait_s:g} s"
                ) from error
            if problem and isinstance(error, OSError) and self._is_alive():
                raise CommandError(f"{self.name}: {problem}: {error}") from error
            cause = f": {error}" if str(error) else ""  # an end of file tells nothing
            raise ConnectionLostError(
                f"{self.name}: the connection was lost during {what}{cause}"
            ) from error
        finally:
            if timer:
                timer.cancel()

    def _is_alive(self) -> bool:
        channel = self._sftp.get_channel() if self._sftp else None
        is_connected = self._transport is not None and self._transport.is_active()
        return is_connected and channel is not None and not channel.closed

    def close(self) -> None:
        for client in reversed(self._clients):
            client.close()


class CommandOutput:
    """What a command has printed so far."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._stdout = bytearray()
        self._stderr = bytearray()

    @property
    def num_bytes(self) -> int:
        return len(self._stdout) + len(self._stderr)

    @property
    def group(self) -> int | None:
        """The command's process group; None until its line has arrived."""
        found = _GROUP.search(self._stdout)
        # group 1 in `kill -9 -1` would be every process of the user
        return int(found[1]) if found and int(found[1]) > 1 else None

    def text(self) -> tuple[str, str]:
        """Both streams; undecodable bytes are replaced."""
        found = _GROUP.search(self._stdout)
        stdout = self._stdout[found.end() :] if found else self._stdout
        return stdout.decode(errors="replace"), self._stderr.decode(errors="replace")

    def collect(self, deadline: float, *, until_group: bool = False) -> bool:
        """Read until the command has ended or has printed too much; False when the deadline
        (monotonic seconds) came first.
        """
        channel = self._channel
        while True:
            if self.num_bytes > device.MAX_READ_BYTES or (until_group and self.group):
                return True
            # looked at first: what arrives with the end, or before it, is then seen to be there
            is_over = channel.eof_received or channel.closed
            if channel.recv_ready():
                self._stdout += channel.recv(CHUNK_BYTES)
            elif channel.recv_stderr_ready():
                self._stderr += channel.recv_stderr(CHUNK_BYTES)
            elif is_over:
                return channel.status_event.wait(max(0.0, deadline - time.monotonic()))
            elif (rest_s := deadline - time.monotonic()) <= 0:
                return False
            else:
                select.select([channel], [], [], min(rest_s, 1.0))
