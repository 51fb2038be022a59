"""Log in to an alias of the user's ssh_config: jump hosts, host keys, the user's keys."""

import contextlib
import logging
import os
import pwd
import queue
import re
import shlex
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.auth_strategy import AuthStrategy, InMemoryPrivateKey, SourceResult
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey
from paramiko.pkey import UnknownKeyType

from ...config.device import DeviceProfile
from ...config.lookup import expand_home
from ...errors import AuthError, ConfigError, ConnectError, HostKeyError
from .session import SSHSession

# paramiko raises its errors: they need not be printed as well.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


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


def login(profile: DeviceProfile, config_path: Path) -> SSHSession:
    """Log in to a profile's host, by way of its jump hosts."""
    alias = profile.host_alias
    hops = hops_to(alias, config_path)
    # reaches the jump hosts too, with the users and ports that the alias gives them
    by_hand = shlex.join(["ssh", *config_words(config_path), alias])
    clients: list[paramiko.SSHClient] = []
    try:
        for hop in hops:
            through = clients[-1].get_transport() if clients else None
            clients.append(_connect(hop, through, profile.connect_timeout_s, by_hand))
    except BaseException:
        for client in reversed(clients):
            client.close()
        raise
    return SSHSession(profile.board, clients, profile.command_timeout_s)


def _connect(
    target: SSHTarget, through: paramiko.Transport | None, timeout_s: float, by_hand: str
) -> paramiko.SSHClient:
    """Open one hop; `by_hand` is the command with which a user does the same."""
    client = paramiko.SSHClient()
    host_key = HostKeyPolicy(target, by_hand)
    client.set_missing_host_key_policy(host_key)  # asked about every key: the client knows none
    keys = _Keys(target, timeout_s)
    with contextlib.ExitStack() as stack:
        stack.callback(client.close)
        with _login_errors(target, keys, timeout_s, by_hand):
            client.connect(
                hostname=target.hostname,
                port=target.port,
                transport_factory=host_key.make_transport,
                auth_strategy=keys,
                sock=_open_link(target, through, timeout_s),
                timeout=timeout_s,
                banner_timeout=timeout_s,
                auth_timeout=timeout_s,
                channel_timeout=timeout_s,
            )
        transport = client.get_transport()
        if transport is not None and target.keepalive_s:
            transport.set_keepalive(target.keepalive_s)
        stack.pop_all()
    return client


def _open_link(
    target: SSHTarget, through: paramiko.Transport | None, timeout_s: float
) -> socket.socket | paramiko.Channel:
    """Open what the SSH stream runs over: a TCP connection, or a channel of the jump host."""
    if through is not None:
        return through.open_channel(
            "direct-tcpip", (target.hostname, target.port), ("127.0.0.1", 0), timeout=timeout_s
        )
    link = socket.create_connection((target.hostname, target.port), timeout_s)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # paramiko never does
    return link


class _Keys(AuthStrategy):
    """Each key once: the identity files, then the keys of ssh-agent."""

    def __init__(self, target: SSHTarget, timeout_s: float) -> None:
        super().__init__(ssh_config=paramiko.SSHConfig())
        self._target = target
        self._timeout_s = timeout_s
        self.tried: list[str] = []
        self._transport: paramiko.Transport | None = None

    def authenticate(self, transport: paramiko.Transport) -> list[SourceResult]:
        self._transport = transport
        return super().authenticate(transport)

    def get_sources(self) -> Iterator[InMemoryPrivateKey]:
        for name, key in self._keys():
            if self._transport is not None and not self._transport.is_active():
                # a server takes a few keys, six as a rule
                self.tried.append(
                    "it hung up then: name the right key as IdentityFile, with IdentitiesOnly yes"
                )
                return
            self.tried.append(name)
            yield InMemoryPrivateKey(self._target.user, key)

    def _keys(self) -> Iterator[tuple[str, paramiko.PKey]]:
        for path in self._target.identity_paths:
            if _is_public(path):  # names a key that ssh-agent holds
                continue
            try:
                if path.stat().st_mode & 0o077:  # as OpenSSH, which does not read it either
                    self.tried.append(f"{path} (others may read it: run `chmod 600 {path}`)")
                    continue
                key = paramiko.PKey.from_path(str(path))
            except TypeError:  # how the cryptography library asks for a passphrase
                self.tried.append(f"{path} (locked with a passphrase: run `ssh-add {path}`)")
            except UnsupportedAlgorithm:
                self.tried.append(f"{path} (on a security token, or of an old kind)")
            except (OSError, ValueError, UnknownKeyType) as error:
                self.tried.append(f"{path} (no private key that can be read: {error})")
            else:
                yield str(path), key
        public = {word for path in self._target.identity_paths for word in _read_public(path)}
        for agent_key in self._agent_keys():
            if self._target.use_whole_agent or agent_key.get_base64() in public:
                yield f"ssh-agent's {agent_key.fingerprint}", agent_key

    def _agent_keys(self) -> Sequence[paramiko.PKey]:
        """The keys of ssh-agent; none if it does not answer, as paramiko waits for it for ever."""
        found = queue.SimpleQueue[Sequence[paramiko.PKey]]()

        def list_keys() -> None:
            try:
                found.put(paramiko.Agent().get_keys())
            except paramiko.SSHException as error:
                self.tried.append(f"the agent in SSH_AUTH_SOCK: {error}")
                found.put(())

        threading.Thread(target=list_keys, daemon=True).start()
        try:
            return found.get(timeout=self._timeout_s)
        except queue.Empty:
            self.tried.append(
                f"the agent in SSH_AUTH_SOCK did not tell its keys within {self._timeout_s:g} s: "
                "make `ssh-add -l` work there, or unset SSH_AUTH_SOCK"
            )
            return ()


def _is_public(path: Path) -> bool:
    """Tell whether a file holds a public key, as `IdentityFile id.pub` names one."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(200).startswith((b"ssh-", b"ecdsa-", b"sk-"))
    return False


def _read_public(path: Path) -> list[str]:
    """Words of a public key, or of that beside a private key; none when it cannot be read."""
    if _is_public(path):
        return path.read_text(encoding="utf-8", errors="replace").split()
    try:
        return path.with_name(path.name + ".pub").read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        return []


@contextlib.contextmanager
def _login_errors(target: SSHTarget, keys: _Keys, timeout_s: float, by_hand: str) -> Iterator[None]:
    """Translate everything that goes wrong before a session exists."""
    where = f"{target.hostname} port {target.port} ('{target.alias}')"
    try:
        yield
    except paramiko.AuthenticationException as error:
        tried = "; ".join(keys.tried) or "none found"
        if target.ignored_options:
            tried += (
                f"; {' and '.join(target.ignored_options)} of the ssh config is not read: name a "
                "key as IdentityFile, or set SSH_AUTH_SOCK to the socket of the agent that has it"
            )
        raise AuthError(
            f"{where} let user {target.user} in with none of these keys: {tried}. Not tried again, "
            f"as servers ban for that: make `{by_hand}` work first (ssh-copy-id puts a key there)"
        ) from error
    except paramiko.ChannelException as error:
        raise ConnectError(f"the jump host cannot reach {where}: {error}") from error
    except paramiko.SSHException as error:
        if "banner" in str(error):
            raise ConnectError(
                f"{where} closed the connection without an SSH greeting: either no SSH server "
                "listens there, or it bans this address for a while after failed logins (OpenSSH "
                f"9.8 and later, PerSourcePenalties): wait a few minutes, then try `{by_hand}`"
            ) from error
        raise ConnectError(f"no SSH connection to {where}: {error}; try `{by_hand}`") from error
    except (socket.gaierror, UnicodeError) as error:
        raise ConnectError(
            f"unknown host name '{target.hostname}' for '{target.alias}': write `Host "
            f"{target.alias}` with its HostName into the ssh config (--ssh-config), or correct "
            "`host` in the device profile"
        ) from error
    except (OSError, EOFError) as error:
        late = f"no answer within {timeout_s:g} s" if isinstance(error, TimeoutError) else ""
        raise ConnectError(
            f"{where} is unreachable: {late or error or 'connection closed'}; is it on, and does "
            "an SSH server run there?"
        ) from error


# -- host keys -------------------------------------------------------------------------------------


class KnownHosts:
    """What known_hosts files say of a host: OpenSSH takes the keys of all lines about it."""

    def __init__(self, name: str, paths: Sequence[Path]) -> None:
        self.revoked: set[str] = set()
        self.has_authority = False
        found = []
        for words in (words for path in paths for words in _lines_about(name, path)):
            if words[0] == "@revoked":
                self.revoked.update(words[3:4])
            elif words[0] == "@cert-authority":
                self.has_authority = True
            else:
                # a kind of key without support (FIDO) is none
                with contextlib.suppress(InvalidHostKey, paramiko.SSHException, ValueError):
                    entry = HostKeyEntry.from_line(" ".join(words))
                    found += [entry.key] if entry and entry.key else []
        self.keys = [key for key in found if key.get_base64() not in self.revoked]


class HostKeyPolicy(paramiko.MissingHostKeyPolicy):
    """Accept the key that a host shows if OpenSSH would; the error says what else to do."""

    def __init__(self, target: SSHTarget, by_hand: str) -> None:
        self._where = f"{target.key_names[0]} ('{target.alias}')"
        self._paths = [path for path in target.known_hosts_paths if path.is_file()]
        self._by_hand = by_hand
        found = [KnownHosts(name, target.known_hosts_paths) for name in target.key_names]
        self._revoked = {key for about in found for key in about.revoked}
        self._has_authority = any(about.has_authority for about in found)
        self._known = found[0].keys
        self._known_otherwise = [key for about in found[1:] for key in about.keys]

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
        if key.get_base64() in self._revoked:
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
                f"{signed if self._has_authority else ''}; if it is the right one, accept it "
                f"once by hand with `{self._by_hand}`, then run the same command again"
            )


def _lines_about(name: str, path: Path) -> Iterator[list[str]]:
    """Words of the lines of a file that are about a host; OpenSSH says which these are."""
    if not path.is_file():
        return
    done = subprocess.run(
        ["ssh-keygen", "-F", name.lower(), "-f", str(path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=READING_TIMEOUT_S,
        check=False,
    )
    if done.returncode not in (0, 1):  # 1: there are none
        told = done.stderr.decode(errors="replace").strip()[:500]
        raise ConfigError(f"known hosts {path} cannot be read: {told}")
    for line in done.stdout.split(b"\n"):
        words = line.decode("latin-1").split()  # comments are in any encoding
        if words and not words[0].startswith("#"):
            yield words
