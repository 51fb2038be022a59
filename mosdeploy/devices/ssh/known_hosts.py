"""Which host keys the user knows, from files as OpenSSH writes and reads them."""

import base64
import contextlib
import fnmatch
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey

from ...errors import ConfigError


@dataclass(frozen=True)
class KnownHosts:
    """What known_hosts files say."""

    lines: tuple[tuple[str, paramiko.PKey], ...]
    revoked: frozenset[str]
    has_authority: bool

    def keys(self, name: str) -> list[paramiko.PKey]:
        """Keys of all lines that are about a host, which OpenSSH takes one as well as another."""
        return [key for names, key in self.lines if _is_about(names, name.lower())]


def load_known_hosts(paths: Iterable[Path]) -> KnownHosts:
    """Read known_hosts files; a line that cannot be understood, or of a kind of key that is not
    supported (FIDO), is no key.
    """
    lines: list[tuple[str, paramiko.PKey]] = []
    revoked: set[str] = set()
    has_authority = False
    for path in paths:
        for words in _lines(path):
            if words[0] == "@revoked":
                revoked.update(words[3:4])
            elif words[0] == "@cert-authority":
                has_authority = True
            elif not words[0].startswith("@"):
                lines += ((words[0], key) for key in _keys(words))
    kept = ((names, key) for names, key in lines if key.get_base64() not in revoked)
    return KnownHosts(tuple(kept), frozenset(revoked), has_authority)


def _is_about(names: str, name: str) -> bool:
    """Tell whether the names of a line, patterns between commas or a hash, are about a host."""
    if names.startswith("|"):
        with contextlib.suppress(ValueError):  # not base64, or another number of parts
            _, kind, salt, digest = names.split("|")
            found = hmac.digest(base64.b64decode(salt), name.encode(), "sha1")
            return kind == "1" and found == base64.b64decode(digest)
        return False
    is_named = False
    for pattern in names.lower().split(","):
        # of what fnmatch knows, OpenSSH knows * and ?
        if fnmatch.fnmatchcase(name, pattern.removeprefix("!").replace("[", "[[]")):
            if pattern.startswith("!"):
                return False
            is_named = True
    return is_named


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


def _keys(words: list[str]) -> list[paramiko.PKey]:
    """The key of a line, if it has one."""
    try:
        entry = HostKeyEntry.from_line(" ".join(words))
    except (InvalidHostKey, paramiko.SSHException, ValueError):
        return []
    return [] if entry is None or entry.key is None else [entry.key]
