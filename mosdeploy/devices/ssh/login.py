"""Log in to an alias of the user's ssh_config: jump hosts, host keys, the user's keys."""

import contextlib
import logging
import queue
import shlex
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.auth_strategy import AuthStrategy, InMemoryPrivateKey, SourceResult
from paramiko.pkey import UnknownKeyType

from ...config.device import DeviceProfile
from ...errors import AuthError, ConfigError, ConnectError, HostKeyError
from .config import DEFAULT_PATH, SSHTarget, make_target, parse_jump
from .config_text import read_ssh_config
from .known_hosts import load_known_hosts
from .session import SSHSession

_MAX_JUMPS = 8
_NO_CONFIG = (ValueError, LookupError, RuntimeError, ImportError)
"""What paramiko and pathlib raise on a text that is no ssh_config."""

_FIDO = "a key on a security token, or of an old kind; name one of another kind as IdentityFile"
# paramiko raises its errors: they need not be printed as well.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


def login(profile: DeviceProfile, config_path: Path) -> SSHSession:
    """Log in to a profile's host, by way of its jump hosts."""
    hops = way_to(profile.host_alias, config_path)
    # by way of the jump hosts, whose user and port it takes from the alias
    by_hand = _by_hand(profile.host_alias, config_path)
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


def _by_hand(alias: str, config_path: Path) -> str:
    """How OpenSSH logs in to the same host; it refuses a named file that is missing."""
    is_default = config_path.expanduser() == DEFAULT_PATH.expanduser()
    return shlex.join(["ssh", *(() if is_default else ("-F", str(config_path))), alias])


def way_to(alias: str, config_path: Path) -> list[SSHTarget]:
    """Every hop to an alias of an ssh_config, the alias itself last."""
    try:
        config = paramiko.SSHConfig.from_text(read_ssh_config(config_path))
        return _way_to(config, make_target(alias, config.lookup(alias)), _MAX_JUMPS)
    # what is no Match, no path, no user's home; Match exec without the package invoke
    except (paramiko.SSHException, OSError, *_NO_CONFIG) as error:
        raise ConfigError(f"ssh config {config_path}: {str(error)[:200]}") from error


def _way_to(config: paramiko.SSHConfig, target: SSHTarget, max_jumps: int) -> list[SSHTarget]:
    """Every hop to a target: the way to its first jump host, its other jump hosts, the target."""
    if target.jumps and max_jumps <= 0:
        raise ConfigError(
            f"ssh config for '{target.alias}': more than {_MAX_JUMPS} jump hosts: do they jump in "
            "a circle?"
        )
    hops: list[SSHTarget] = []
    for jump in target.jumps:
        alias, user, port = parse_jump(jump)
        hop = make_target(alias, config.lookup(alias), user, port)
        hops += [replace(hop, jumps=())] if hops else _way_to(config, hop, max_jumps - 1)
    return [*hops, target]


def _connect(
    target: SSHTarget, through: paramiko.Transport | None, timeout_s: float, by_hand: str
) -> paramiko.SSHClient:
    """Open one hop; `by_hand` is the command with which a user does the same."""
    client = paramiko.SSHClient()
    host_key = _HostKey(target, by_hand)
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


class _HostKey(paramiko.MissingHostKeyPolicy):
    """Accept the key that a host shows if OpenSSH would; the error tells what else to do."""

    def __init__(self, target: SSHTarget, by_hand: str) -> None:
        self._where = f"{target.key_names[0]} ('{target.alias}')"
        self._paths = [path for path in target.known_hosts_paths if path.is_file()]
        self._by_hand = by_hand
        self._files = load_known_hosts(target.known_hosts_paths)
        name, *others = target.key_names
        self._known = self._files.keys(name)
        self._known_otherwise = [key for other in others for key in self._files.keys(other)]

    def make_transport(self, link: Any, /, **options: Any) -> paramiko.Transport:
        """A transport that asks for a key of a kind that is known, where the host has one."""
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
        if key.get_base64() in self._files.revoked:
            raise HostKeyError(
                f"the host key of {self._where} is REVOKED (@revoked in known_hosts): "
                f"{key.get_name()} {key.fingerprint}; somebody who has stolen it may stand there. "
                "The host needs a new key"
            )
        if self._known and key not in self._known:
            raise self._changed(key)
        if key not in (*self._known, *self._known_otherwise):
            raise self._unknown(key)

    def _changed(self, key: paramiko.PKey) -> HostKeyError:
        same_kind = [known for known in self._known if known.get_name() == key.get_name()]
        expected = (same_kind or self._known)[0].fingerprint
        return HostKeyError(
            f"the host key of {self._where} HAS CHANGED: known is {expected}, shown was "
            f"{key.fingerprint}; somebody may stand in between. Only if you know why (a new system "
            f"on the device), remove the old key from {', '.join(map(str, self._paths))} "
            f"(`ssh-keygen -R`) and accept the new one with `{self._by_hand}`"
        )

    def _unknown(self, key: paramiko.PKey) -> HostKeyError:
        authority = ""
        if self._files.has_authority:
            authority = "; what @cert-authority has signed is not known by that"
        return HostKeyError(
            f"the host key of {self._where} is not known: {key.get_name()} {key.fingerprint}"
            f"{authority}; if it is the right one, accept it once by hand with `{self._by_hand}`, "
            "then run the same command again"
        )


class _Keys(AuthStrategy):
    """Each key once: the identity files, then what ssh-agent holds."""

    def __init__(self, target: SSHTarget, timeout_s: float) -> None:
        super().__init__(ssh_config=paramiko.SSHConfig())
        self._target = target
        self._timeout_s = timeout_s
        self.tried: list[str] = []
        self.locked: list[Path] = []
        self.hung_up = False
        self.is_agent_silent = False
        self._transport: paramiko.Transport | None = None

    def authenticate(self, transport: paramiko.Transport) -> list[SourceResult]:
        self._transport = transport
        return super().authenticate(transport)

    def get_sources(self) -> Iterator[InMemoryPrivateKey]:
        for name, key in self._keys():
            # a server takes a few keys, six as a rule
            self.hung_up = self._transport is not None and not self._transport.is_active()
            if self.hung_up:
                return
            self.tried.append(name)
            yield InMemoryPrivateKey(self._target.user, key)

    def _keys(self) -> Iterator[tuple[str, paramiko.PKey]]:
        for path in self._target.identity_paths:
            if _is_public(path):  # names a key that ssh-agent holds
                continue
            try:
                key = paramiko.PKey.from_path(str(path))
            except TypeError:  # how the cryptography library asks for a passphrase
                self.locked.append(path)
            except UnsupportedAlgorithm:
                self.tried.append(f"{path} (not usable here: {_FIDO})")
            except (OSError, ValueError, UnknownKeyType) as error:
                raise AuthError(f"{path} is not a private key that can be read: {error}") from error
            else:
                yield str(path), key
        public = {word for path in self._target.identity_paths for word in _read_public(path)}
        for agent_key in self._agent_keys():
            if self._target.use_whole_agent or agent_key.get_base64() in public:
                yield f"ssh-agent's {agent_key.fingerprint}", agent_key

    def _agent_keys(self) -> Sequence[paramiko.PKey]:
        """What ssh-agent holds; none if it does not answer, as paramiko waits for it for ever."""
        found: queue.SimpleQueue[Sequence[paramiko.PKey] | paramiko.SSHException] = (
            queue.SimpleQueue()
        )

        def list_keys() -> None:
            try:
                found.put(paramiko.Agent().get_keys())
            except paramiko.SSHException as error:
                found.put(error)

        threading.Thread(target=list_keys, daemon=True).start()
        try:
            keys = found.get(timeout=self._timeout_s)
        except queue.Empty:
            self.is_agent_silent = True
            return ()
        if isinstance(keys, paramiko.SSHException):
            raise keys
        return keys


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
        tried = ", ".join(keys.tried) or "none found"
        if keys.locked:
            path = keys.locked[0]
            tried += f"; {path} is locked with a passphrase: run `ssh-add {path}`"
        if keys.is_agent_silent:
            tried += (
                f"; the agent in SSH_AUTH_SOCK did not tell its keys within {timeout_s:g} s: make "
                "`ssh-add -l` work there, or unset SSH_AUTH_SOCK"
            )
        if target.unread:
            tried += (
                f"; {' and '.join(target.unread)} of the ssh config is not read: name a key as "
                "IdentityFile, or set SSH_AUTH_SOCK to the socket of the agent that has it"
            )
        if keys.hung_up:
            tried += (
                "; it hung up then: name the right key as IdentityFile, with IdentitiesOnly yes"
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
    except TimeoutError as error:
        raise ConnectError(
            f"{where} is unreachable: no answer within {timeout_s:g} s; is it on, and the network?"
        ) from error
    except ConnectionRefusedError as error:
        raise ConnectError(
            f"{where} refused the connection; does an SSH server run there, on that port?"
        ) from error
    except (OSError, EOFError) as error:
        raise ConnectError(f"{where} is unreachable: {error or 'connection closed'}") from error
