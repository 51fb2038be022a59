"""The hosts that an alias stands for, as OpenSSH's client reads the user's ssh_config."""

import os
import pwd
import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from ...config.lookup import expand_home
from ...errors import ConfigError

DEFAULT_PATH = Path("~/.ssh/config")
DEFAULT_PORT = 22
KEEPALIVE_S = 30
MAX_JUMPS = 8
READING_TIMEOUT_S = 30.0  # a `Match exec` may run a command, and names may be looked up
_JUMP = re.compile(r"(?:(?P<user>[^@]+)@)?(?P<host>\[[^\]]+\]|[^:@]+)(?::(?P<port>\d+))?")


@dataclass(frozen=True)
class SSHTarget:
    """One hop: its address, its user, their keys, and the host keys that it may show."""

    alias: str
    hostname: str
    port: int
    user: str
    host_key_alias: str | None
    identity_paths: tuple[Path, ...]
    use_whole_agent: bool
    known_hosts_paths: tuple[Path, ...]
    keepalive_s: int
    jumps: tuple[str, ...]
    ignored_options: tuple[str, ...] = ()

    @property
    def key_names(self) -> tuple[str, ...]:
        """Names of the host in known_hosts; the second counts where the first is not known."""
        if self.host_key_alias is not None:
            return (self.host_key_alias,)
        if self.port == DEFAULT_PORT:
            return (self.hostname,)
        return (f"[{self.hostname}]:{self.port}", self.hostname)


def hops_to(alias: str, config_path: Path) -> list[SSHTarget]:
    """Return every hop to an alias, the alias itself last."""
    return _with_jumps(_read_target(alias, config_path, []), config_path, MAX_JUMPS)


def config_words(config_path: Path) -> list[str]:
    """Return the words that tell `ssh` which file to read."""
    path = expand_home(str(config_path))
    # without -F, ssh reads the system's config too, and the user's in the home of the password
    # database, whatever HOME says
    is_default = path == expand_home(str(DEFAULT_PATH))
    is_found = Path.home() == _login_home() or not path.exists()
    return [] if is_default and is_found else ["-F", str(path)]


def _login_home() -> Path:
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:  # as in a container
        return Path.home()


def _with_jumps(target: SSHTarget, config_path: Path, max_jumps: int) -> list[SSHTarget]:
    if target.jumps and max_jumps <= 0:
        raise ConfigError(
            f"ssh config for '{target.alias}': more than {MAX_JUMPS} jump hosts: do they jump in "
            "a circle?"
        )
    hops: list[SSHTarget] = []
    for jump in target.jumps:
        match = _JUMP.fullmatch(jump.removeprefix("ssh://"))
        if not match:
            raise ConfigError(f"ProxyJump '{jump}' is not [user@]host[:port]")
        words = ["-l", match["user"]] if match["user"] else []
        words += ["-p", match["port"]] if match["port"] else []
        hop = _read_target(match["host"].strip("[]"), config_path, words)
        # only the first jump host is reached by its own jumps: the others by the one before
        hops += [replace(hop, jumps=())] if hops else _with_jumps(hop, config_path, max_jumps - 1)
    return [*hops, target]


def _read_target(alias: str, config_path: Path, words: list[str]) -> SSHTarget:
    options = _read_options(alias, config_path, words)

    def first(name: str) -> str | None:
        value = options.get(name, ["none"])[0]
        return None if value.lower() == "none" else value

    if first("proxycommand"):
        raise ConfigError(f"ssh config for '{alias}': ProxyCommand is not supported; use ProxyJump")
    if first("revokedhostkeys"):
        raise ConfigError(
            f"ssh config for '{alias}': RevokedHostKeys is not supported; write the revoked keys "
            "into known_hosts, each with @revoked before it"
        )
    hostname = first("hostname") or alias
    user = first("user") or ""
    tokens = {"%%": "%", "%d": str(Path.home()), "%h": hostname, "%n": alias, "%r": user}
    identities = [
        expand_home(re.sub("%.", lambda token: tokens.get(token[0], token[0]), name))
        for name in options.get("identityfile", [])
        if name.lower() != "none"
    ]
    known_hosts = " ".join(
        first(name) or "" for name in ("userknownhostsfile", "globalknownhostsfile")
    )
    agent = first("identityagent")
    ignored = ["IdentityAgent"] if agent and agent.lstrip("$").upper() != "SSH_AUTH_SOCK" else []
    return SSHTarget(
        alias=alias,
        hostname=hostname,
        port=int(first("port") or DEFAULT_PORT),
        user=user,
        host_key_alias=first("hostkeyalias"),
        identity_paths=tuple(path for path in identities if path.exists()),
        use_whole_agent=first("identitiesonly") != "yes",
        known_hosts_paths=tuple(map(expand_home, known_hosts.split())),
        keepalive_s=int(first("serveraliveinterval") or 0) or KEEPALIVE_S,
        jumps=tuple(x.strip() for x in (first("proxyjump") or "").split(",") if x.strip()),
        ignored_options=(*ignored, *(["CertificateFile"] if first("certificatefile") else [])),
    )


def _read_options(alias: str, config_path: Path, words: list[str]) -> dict[str, list[str]]:
    """Ask `ssh -G` for the options of a host: the values of each, by its name in small letters."""
    command = ["ssh", "-G", *config_words(config_path), *words, "--", alias]
    where = f"ssh config {config_path} for '{alias}'"
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=READING_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise ConfigError(
            "no `ssh` on this machine, which reads the ssh config: install OpenSSH's client "
            "(sudo apt-get install openssh-client)"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"{where}: `ssh -G` did not end in {READING_TIMEOUT_S:g} s") from error
    except ValueError as error:  # a null byte
        raise ConfigError(f"{where}: {error}") from error
    if done.returncode != 0:
        told = done.stderr.decode(errors="replace").strip()[:500]
        raise ConfigError(f"{where} cannot be read: {told or 'ssh -G printed nothing'}")
    options: dict[str, list[str]] = {}
    for line in done.stdout.decode(errors="replace").splitlines():
        name, _, value = line.partition(" ")
        options.setdefault(name.lower(), []).append(value)
    return options
