"""What a command on a device prints, and the process group to kill."""

import re
import select
import time

import paramiko

from .. import answers

CHUNK_BYTES = 32 * 1024  # one large send is fifty times slower than many of this size
PRINT_GROUP = "echo mosdeploy-group:$$"
"""Shell text for the first line of a command, which tells its process group."""

_GROUP = re.compile(rb"mosdeploy-group:(\d{1,10})\n")


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
        return int(found[1]) if found else None

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
            if self.num_bytes > answers.MAX_READ_BYTES or (until_group and self.group):
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
