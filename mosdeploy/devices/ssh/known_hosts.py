"""Which host keys the user knows, and the refusal of any other."""

import base64
import contextlib
import fnmatch
import hmac
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey

from ...errors import ConfigError, HostKeyError
from .config import SSHTarget


class KnownHosts:
    """What known_hosts files say; a line that cannot be understood is no key."""

    def __init__(self, *paths: Path) -> None:
        self.revoked: set[str] = set()
        self.has_authority = False
        self._keys: list[tuple[str, paramiko.PKey]] = []
        for path in paths:
            for words in _lines(path):
                if words[0] == "@revoked":
                    self.revoked.update(words[3:4])
                elif words[0] == "@cert-authority":
                    self.has_authority = True
                elif (key := _key(words)) is not None:
                    self._keys.append((words[0], key))

    def keys(self, name: str) -> list[paramiko.PKey]:
        """Return the keys of all lines about a host: OpenSSH takes each of them."""
        found = [key for names, key in self._keys if _is_about(names, name.lower())]
        return [key for key in found if key.get_base64() not in self.revoked]


class HostKeyPolicy(paramiko.MissingHostKeyPolicy):
    """Accept the key that a host shows if OpenSSH would; the error says what else to do."""

    def __init__(self, target: SSHTarget, by_hand: str) -> None:
        self._where = f"{target.key_names[0]} ('{target.alias}')"
        self._paths = [path for path in target.known_hosts_paths if path.is_file()]
        self._by_hand = by_hand
        self._files = KnownHosts(*target.known_hosts_paths)
        name, *others = target.key_names
        self._known = self._files.keys(name)
        self._known_otherwise = [key for other in others for key in self._files.keys(other)]

    def make_transport(self, link: Any, /, **options: Any) -> paramiko.Transport:
        """Make a transport that asks for a key of a known kind, where the host has one."""
        transport = paramiko.Transport(link, **options)
        kinds = {key.get_name() for key in self._known or self._known_otherwise}
        if "ssh-rsa" in kinds:  # how keys of this kind sign
            kinds |= {"rsa-sha2-512", "rsa-sha2-256"}
        security = transport.get_security_options()
        security.key_types = sorted(security.key_types, key=lambda kind: kind not in kinds)
        return transport

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        shown = f"{key.get_name()} {key.fingerprint}"
        if key.get_base64() in self._files.revoked:
            raise HostKeyError(
                f"the host key of {self._where} is REVOKED (@revoked in known_hosts): {shown}; "
                "somebody who has stolen it may stand there. The host needs a new key"
            )
        if self._known and key not in self._known:
            same_kind = [known for known in self._known if known.get_name() == key.get_name()]
            raise HostKeyError(
                f"the host key of {self._where} HAS CHANGED: known is "
                f"{(same_kind or self._known)[0].fingerprint}, shown was {key.fingerprint}; "
                "somebody may stand in between. Only if you know why (a new system on the device), "
                f"remove the old key from {', '.join(map(str, self._paths))} (`ssh-keygen -R`) and "
                f"accept the new one with `{self._by_hand}`"
            )
        if key not in (*self._known, *self._known_otherwise):
            signed = "; keys signed by a @cert-authority are not known by that"
            raise HostKeyError(
                f"the host key of {self._where} is not known: {shown}"
                f"{signed if self._files.has_authority else ''}; if it is the right one, accept it "
                f"once by hand with `{self._by_hand}`, then run the same command again"
            )


def _lines(path: Path) -> Iterator[list[str]]:
    """Words of the lines of a file that are neither empty nor a comment."""
    try:
        content = path.read_bytes() if path.is_file() else b""
    except OSError as error:
        raise ConfigError(f"known hosts {path} cannot be read: {error.strerror}") from error
    for line in content.split(b"\n"):  # at nothing else: a comment may hold any other separator
        text = line.decode("latin-1").strip(" \t\r")  # comments are in any encoding
        if text and not text.startswith("#"):
            yield re.split("[ \t]+", text)


def _key(words: list[str]) -> paramiko.PKey | None:
    """The key of a line; None for an unknown mark or a kind of key without support (FIDO)."""
    with contextlib.suppress(InvalidHostKey, paramiko.SSHException, ValueError):
        entry = HostKeyEntry.from_line(" ".join(words))
        return entry.key if entry else None
    return None


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
