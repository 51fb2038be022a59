"""Which host keys the user knows, from files as OpenSSH writes and reads them.

In: the paths of known_hosts files. Out: keys by host, and those that are revoked. Nothing is
opened here but these files.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeyEntry, HostKeys, InvalidHostKey

from ...errors import ConfigError


@dataclass(frozen=True)
class KnownHosts:
    """What known_hosts files say.

    Attributes
    ----------
    keys
        Keys by host, without those that are revoked.
    revoked
        Base64 of the keys that are marked `@revoked`, for whatever hosts.
    has_authority
        Some lines name an authority that signs host keys, which paramiko does not know.
    """

    keys: HostKeys
    revoked: frozenset[str]
    has_authority: bool


def load_known_hosts(paths: Iterable[Path]) -> KnownHosts:
    """Read known_hosts files; a line that cannot be understood, or of a kind of key that is not
    supported (FIDO), is no key.

    Raises
    ------
    ConfigError
        If a file is there and cannot be read.
    """
    entries: list[HostKeyEntry] = []
    revoked: set[str] = set()
    has_authority = False
    for path in paths:
        for words in _lines(path):
            if words[0] == "@revoked":
                revoked.update(words[3:4])
            elif words[0] == "@cert-authority":
                has_authority = True
            elif not words[0].startswith("@"):
                entries += _entry(words)
    keys = HostKeys()
    for entry in entries:
        key = entry.key
        for host in entry.hostnames or ():
            known = keys.lookup(host)
            is_first = known is None or key.get_name() not in known.keys()  # noqa: SIM118
            if is_first and key.get_base64() not in revoked:
                keys.add(host, key.get_name(), key)
    return KnownHosts(keys, frozenset(revoked), has_authority)


def _lines(path: Path) -> Iterable[list[str]]:
    """Words of the lines of a file that are neither empty nor a comment."""
    try:
        if not path.is_file():
            return
        text = path.read_bytes().decode(errors="replace")  # comments are in any encoding
    except OSError as error:
        raise ConfigError(f"known hosts {path} cannot be read: {error.strerror}") from error
    for line in text.splitlines():
        words = line.split()
        if words and not words[0].startswith("#"):
            yield words


def _entry(words: list[str]) -> list[HostKeyEntry]:
    try:
        entry = HostKeyEntry.from_line(" ".join(words))
    except (InvalidHostKey, paramiko.SSHException, ValueError):
        return []
    return [] if entry is None or entry.key is None else [entry]
