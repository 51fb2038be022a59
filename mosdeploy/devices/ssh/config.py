"""Read the options of one host of the user's ssh_config."""

import getpass
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import ConfigError

DEFAULT_PATH = Path("~/.ssh/config")
DEFAULT_KEYS = (Path("~/.ssh/id_ed25519"), Path("~/.ssh/id_ecdsa"), Path("~/.ssh/id_rsa"))
USER_KNOWN_HOSTS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
GLOBAL_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
DEFAULT_PORT = 22
KNOWN_HOSTS_KEYS = ("userknownhostsfile", "globalknownhostsfile")
"""Options that name several files."""
_PORTS = range(1, 1 << 16)
_TOKEN = re.compile(r"%(.?)|\$\{([^}]*)\}")
_JUMP = re.compile(r"(?:(?P<user>[^@]+)@)?(?P<host>\[[^\]]+\]|[^:@]+)(?::(?P<port>\d+))?")


@dataclass(frozen=True)
class SSHTarget:
    """Where one hop goes, as whom, with which keys, and which host keys it may show; `unread` names
    options of ssh_config that give OpenSSH further keys.
    """

    alias: str
    hostname: str
    port: int
    user: str
    host_key_name: str | None
    identity_paths: tuple[Path, ...]
    use_whole_agent: bool
    known_hosts_paths: tuple[Path, ...]
    keepalive_s: int
    jumps: tuple[str, ...]
    unread: tuple[str, ...] = ()

    @property
    def key_names(self) -> tuple[str, ...]:
        """What known_hosts calls the host; the second counts where the first is not known."""
        if self.host_key_name is not None:
            return (self.host_key_name,)
        if self.port == DEFAULT_PORT:
            return (self.hostname,)
        return (f"[{self.hostname}]:{self.port}", self.hostname)


def make_target(
    alias: str, options: Mapping[str, Any], user: str | None = None, port: int | None = None
) -> SSHTarget:
    """Read the options that a parser found for an alias."""
    if options.get("proxycommand", "none").lower() != "none":
        raise ConfigError(f"ssh config for '{alias}': ProxyCommand is not supported; use ProxyJump")
    jump = str(options.get("proxyjump", "none"))
    names = [name for name in options.get("identityfile", []) if name.lower() != "none"]
    named = [Path(name).expanduser() for name in names]
    candidates = named or [path.expanduser() for path in DEFAULT_KEYS]
    identity_paths = [path for path in candidates if path.exists()]
    if named and not identity_paths:
        raise ConfigError(
            f"ssh config for '{alias}': IdentityFile {', '.join(map(str, named))} does not exist"
        )
    target = SSHTarget(
        alias=alias,
        hostname=options.get("hostname", alias),
        port=port or _number(alias, "Port", options.get("port", str(DEFAULT_PORT)), _PORTS),
        user=user or options.get("user") or getpass.getuser(),
        host_key_name=options.get("hostkeyalias"),
        identity_paths=tuple(identity_paths),
        use_whole_agent=options.get("identitiesonly", "no").lower() != "yes",
        known_hosts_paths=(),
        keepalive_s=_number(
            alias, "ServerAliveInterval", options.get("serveraliveinterval", "30"), range(1 << 31)
        ),
        jumps=() if jump.lower() == "none" else tuple(x.strip() for x in jump.split(",")),
        unread=tuple(
            name for name in ("IdentityAgent", "CertificateFile") if _gives(options, name)
        ),
    )
    return replace(target, known_hosts_paths=_known_hosts(target, options))


def _known_hosts(target: SSHTarget, options: Mapping[str, Any]) -> tuple[Path, ...]:
    """The files of known host keys; in the names of the user's own, tokens stand for something."""
    where = f"ssh config for '{target.alias}'"
    user, system = (
        split_words(options.get(key, default), f"{where}: {key}")
        for key, default in zip(
            KNOWN_HOSTS_KEYS, (USER_KNOWN_HOSTS, GLOBAL_KNOWN_HOSTS), strict=True
        )
    )
    names = [*(_without_tokens(target, name) for name in user), *system]
    return tuple(Path(name).expanduser() for name in names if name.lower() != "none")


def _without_tokens(target: SSHTarget, name: str) -> str:
    """A name of UserKnownHostsFile with its tokens and environment variables replaced."""
    values = {
        "%": "%",
        "d": str(Path.home()),
        "h": target.hostname,
        "i": str(os.getuid()),
        "k": target.host_key_name or target.alias,
        "n": target.alias,
        "p": str(target.port),
        "r": target.user,
        "u": getpass.getuser(),
    }

    def value(token: re.Match[str]) -> str:
        found = values.get(token[1]) if token[2] is None else os.environ.get(token[2])
        if found is None:
            raise ConfigError(
                f"ssh config for '{target.alias}': UserKnownHostsFile {name} has {token[0]}, which "
                f"stands for nothing here; allowed are %{' %'.join(values)} and environment "
                "variables that are set: write the path out"
            )
        return found

    return _TOKEN.sub(value, name)


def split_words(text: str, where: str) -> list[str]:
    """The words of a value; quotes hold one together."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {text[:80]} cannot be read: {error}") from error


def _gives(options: Mapping[str, Any], name: str) -> bool:
    """Whether an option names something that is not looked at in any case."""
    found = options.get(name.lower(), "none")
    value = found[0] if isinstance(found, list) and found else found
    return str(value).lower() not in ("none", "ssh_auth_sock", "$ssh_auth_sock")


def parse_jump(text: str) -> tuple[str, str | None, int | None]:
    """Split one hop of a ProxyJump, `[user@]host[:port]`, into alias, user and port."""
    match = _JUMP.fullmatch(text.removeprefix("ssh://"))
    if not match:
        raise ConfigError(f"ProxyJump '{text}' is not [user@]host[:port]")
    host = match["host"].strip("[]")
    port = match["port"]
    return host, match["user"], None if port is None else _number(host, "Port", port, _PORTS)


def _number(alias: str, key: str, text: str, allowed: range) -> int:
    try:
        number = int(text)
    except ValueError as error:
        raise ConfigError(
            f"ssh config for '{alias}': {key} must be a whole number, got '{text[:80]}'"
        ) from error
    if number not in allowed:
        raise ConfigError(
            f"ssh config for '{alias}': {key} must be from {allowed[0]} to {allowed[-1]}, got "
            f"{number}"
        )
    return number
