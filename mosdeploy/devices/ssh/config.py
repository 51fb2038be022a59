"""Read the options of one host from the user's ssh_config.

In: the text of ssh_config and what a parser found in it for one alias. Out: an `SSHTarget`. Nothing
is opened here.
"""

import getpass
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ConfigError

DEFAULT_PATH = Path("~/.ssh/config")
DEFAULT_KEYS = (Path("~/.ssh/id_ed25519"), Path("~/.ssh/id_ecdsa"), Path("~/.ssh/id_rsa"))
USER_KNOWN_HOSTS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
GLOBAL_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
DEFAULT_PORT = 22
_PORTS = range(1, 1 << 16)
_INCLUDE = re.compile(r"\s*include(?:\s*=\s*|\s+)(.+)", re.IGNORECASE)
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


def read_ssh_config(path: Path) -> str:
    """Text of an ssh_config with its Include lines replaced by what they name.

    Raises
    ------
    ConfigError
        If the file is missing (the user's default one may be) or unreadable.
    """
    path = path.expanduser()
    if not path.exists() and path == DEFAULT_PATH.expanduser():
        return ""
    return _expand(path, depth=0)


def _expand(path: Path, depth: int) -> str:
    if depth > 16:  # as OpenSSH
        raise ConfigError(f"{path}: too many levels of Include")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"ssh config {path} cannot be read: {error}") from error
    out: list[str] = []
    for line in lines:
        match = _INCLUDE.fullmatch(line)
        if not match:
            out.append(line)
            continue
        for pattern in match[1].replace('"', "").split():
            full = Path("~/.ssh").expanduser() / Path(pattern).expanduser()
            found = sorted(Path(full.anchor).glob(str(full.relative_to(full.anchor))))
            out.extend(_expand(file, depth + 1) for file in found if file.is_file())
    return "\n".join(out) + "\n"


def make_target(
    alias: str, options: Mapping[str, Any], user: str | None = None, port: int | None = None
) -> SSHTarget:
    """Read the options that a parser found for an alias.

    Parameters
    ----------
    alias
        The name that was looked up.
    options
        Lower-case option names to text (`identityfile`: to a list of text).
    user, port
        From `user@host:port` of a ProxyJump; they take precedence over the options.

    Raises
    ------
    ConfigError
        If an option is not supported or has no valid value.
    """
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
    known_hosts = [
        *options.get("userknownhostsfile", USER_KNOWN_HOSTS).split(),
        *options.get("globalknownhostsfile", GLOBAL_KNOWN_HOSTS).split(),
    ]
    return SSHTarget(
        alias=alias,
        hostname=options.get("hostname", alias),
        port=port or _number(alias, "Port", options.get("port", str(DEFAULT_PORT)), _PORTS),
        user=user or options.get("user") or getpass.getuser(),
        host_key_name=options.get("hostkeyalias"),
        identity_paths=tuple(identity_paths),
        use_whole_agent=options.get("identitiesonly", "no").lower() != "yes",
        known_hosts_paths=tuple(
            Path(x.strip('"')).expanduser() for x in known_hosts if x.lower() != "none"
        ),
        keepalive_s=_number(
            alias, "ServerAliveInterval", options.get("serveraliveinterval", "30"), range(1 << 31)
        ),
        jumps=() if jump.lower() == "none" else tuple(x.strip() for x in jump.split(",")),
        unread=tuple(
            name for name in ("IdentityAgent", "CertificateFile") if _gives(options, name)
        ),
    )


def _gives(options: Mapping[str, Any], name: str) -> bool:
    """Whether an option names something that is not looked at in any case."""
    found = options.get(name.lower(), "none")
    value = found[0] if isinstance(found, list) and found else found
    return str(value).lower() not in ("none", "ssh_auth_sock", "$ssh_auth_sock")


def parse_jump(text: str) -> tuple[str, str | None, int | None]:
    """Split one hop of a ProxyJump, `[user@]host[:port]`, into alias, user and port.

    Raises
    ------
    ConfigError
        If it has another form, or the port is none.
    """
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
