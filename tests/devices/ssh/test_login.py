"""Why there is no session: each cause has its error and says what to do."""

import base64
import getpass
import re
import socket
import struct
import subprocess
import threading
from pathlib import Path

import paramiko
import pytest
from fuzzing import damage, fuzzed, only
from hypothesis import given
from hypothesis import strategies as st
from openssh import SSHD

from mosdeploy.devices.connect import open_session
from mosdeploy.devices.ssh.login import DEFAULT_PATH, config_words, hops_to
from mosdeploy.errors import AuthError, CommandError, ConfigError, ConnectError, HostKeyError


def packed(*parts):
    """The parts as strings of OpenSSH's format; a bytearray stands as it is."""
    return b"".join(x if isinstance(x, bytearray) else struct.pack(">I", len(x)) + x for x in parts)


def fido_key():
    """A private key as ssh-keygen writes it for a security token."""
    kind = b"sk-ssh-ed25519@openssh.com"
    public = packed(kind, bytes(32), b"ssh:")
    private = packed(bytearray(8), kind, bytes(32), b"ssh:", bytearray(b"\1"), b"handle", b"")
    private += bytes(range(1, 1 + -len(private) % 8))
    whole = packed(bytearray(b"openssh-key-v1\0"), b"none", b"none", b"")
    whole += packed(bytearray(b"\0\0\0\1"), public, private)
    body = base64.b64encode(whole).decode()
    return f"-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----\n"


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def login(make_profile, client_files, **changes):
    return open_session(make_profile("ssh", **changes), client_files.config)


def test_a_known_host_and_key_get_in(make_profile, client_files, double):
    with login(make_profile, client_files) as session:
        assert session.run("echo hello").stdout == "hello\n"
        assert session.home() == double.environment["HOME"]


def test_a_login_shell_that_runs_nothing_is_told(make_profile, client_files, double, tmp_path):
    shell = tmp_path / "nologin"
    shell.write_text("#!/bin/sh\necho This account is currently not available.\nexit 1\n")
    shell.chmod(0o755)
    double.environment["SHELL"] = str(shell)
    with (
        login(make_profile, client_files) as session,
        pytest.raises(CommandError, match=r"does not run .* not available\.; give .* plain shell"),
    ):
        session.home()


def test_the_socket_has_no_delay(make_profile, client_files, double):
    with login(make_profile, client_files) as session:
        link = session._transport.sock
        assert link.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_unknown_host_key_is_refused(make_profile, client_files, double):
    client_files.known_hosts.unlink()
    with pytest.raises(HostKeyError, match=rf"by hand with `ssh -F {client_files.config} dev`"):
        login(make_profile, client_files)
    assert not client_files.known_hosts.exists()


def test_keys_that_the_config_gives_to_openssh_alone_are_told(make_profile, client_files, double):
    double.allowed.clear()
    for name, is_told in (("~/.1password/agent.sock", True), ("SSH_AUTH_SOCK", False)):
        client_files.write(double.port, extra=f"  IdentityAgent {name}\n")
        with pytest.raises(AuthError) as raised:
            login(make_profile, client_files)
        assert ("IdentityAgent of the ssh config is not read" in str(raised.value)) is is_told


def test_a_refused_key_is_not_tried_twice(make_profile, client_files, double):
    double.allowed.clear()
    with pytest.raises(AuthError, match=r"user tester in with none of these keys: .*/id\. Not"):
        login(make_profile, client_files)
    assert double.num_logins == 1


def test_a_locked_key_asks_for_ssh_add(make_profile, client_files, double):
    client_files.key.write_private_key_file(str(client_files.key_path), password="secret")
    with pytest.raises(AuthError, match=r"locked with a passphrase: run `ssh-add .*/id`"):
        login(make_profile, client_files)


def key_line(key):
    return f"{key.get_name()} {key.get_base64()}"


def test_a_key_on_a_token_is_named_and_the_next_one_tried(
    make_profile, client_files, double, tmp_path
):
    fido = tmp_path / "id_ed25519_sk"
    fido.write_text(fido_key())
    fido.chmod(0o600)
    client_files.write(double.port, double.host_key, f"  IdentityFile {fido}\n")
    with login(make_profile, client_files):
        pass
    client_files.key_path.unlink()
    with pytest.raises(AuthError, match=r"id_ed25519_sk \(on a security token"):
        login(make_profile, client_files)


def test_a_public_key_names_one_of_the_agent(make_profile, client_files, double, monkeypatch):
    class Agent:
        def get_keys(self):
            return [paramiko.ECDSAKey.generate(), client_files.key]

    public = client_files.key_path.with_name("card.pub")
    public.write_text(f"{key_line(client_files.key)} me\n")
    client_files.key_path.write_text(public.read_text())  # IdentityFile names it, too
    with pytest.raises(AuthError, match="with none of these keys: none found"):
        login(make_profile, client_files)
    monkeypatch.setattr(paramiko, "Agent", Agent)
    with login(make_profile, client_files) as session:
        assert session.run("true").returncode == 0


def test_a_server_that_hangs_up_has_not_judged_the_keys_behind(
    make_profile, client_files, double, monkeypatch
):
    others = [paramiko.ECDSAKey.generate() for _ in range(30)]

    class Agent:
        def get_keys(self):
            return [*others, client_files.key]

    monkeypatch.setattr(paramiko, "Agent", Agent)
    others[0].write_private_key_file(str(client_files.key_path))
    config = client_files.config.read_text()
    client_files.config.write_text(config.replace("IdentitiesOnly yes", "IdentitiesOnly no"))
    with pytest.raises(AuthError, match="hung up then: name the right key") as raised:
        login(make_profile, client_files)
    told = str(raised.value)
    assert others[1].fingerprint in told
    assert client_files.key.fingerprint not in told


def test_a_key_that_openssh_would_not_use_hides_no_other(
    make_profile, client_files, double, tmp_path
):
    """Neither what is no key, nor a private key that others may read."""
    broken, open_to_all = tmp_path / "broken", tmp_path / "open"
    broken.write_text("not a key")
    broken.chmod(0o600)
    open_to_all.write_bytes(client_files.key_path.read_bytes())
    open_to_all.chmod(0o644)
    good = client_files.config.read_text()
    named = f"  IdentityFile {broken}\n  IdentityFile {open_to_all}\n"
    client_files.config.write_text(good.replace("  IdentityFile", f"{named}  IdentityFile", 1))
    with login(make_profile, client_files):
        pass
    client_files.key_path.unlink()
    with pytest.raises(AuthError, match=r"broken \(no private key.*run `chmod 600 .*/open`"):
        login(make_profile, client_files)


@pytest.mark.parametrize("name", ["nowhere.invalid", "no..where"])
def test_an_unknown_host_name(make_profile, client_files, name):
    client_files.config.write_text(f"Host dev\n  HostName {name}\n")
    with pytest.raises(ConnectError, match=r"unknown host name .*--ssh-config"):
        login(make_profile, client_files)


def test_a_refused_connection(make_profile, client_files, free_port):
    client_files.write(free_port)
    with pytest.raises(ConnectError, match=rf"port {free_port} .* is unreachable: .*refused"):
        login(make_profile, client_files)


def test_a_server_that_closes_without_a_greeting(make_profile, client_files):
    with socket.create_server(("127.0.0.1", 0)) as server:
        client_files.write(server.getsockname()[1])
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        with pytest.raises(ConnectError, match="bans this address"):
            login(make_profile, client_files)


def test_a_server_that_never_answers(make_profile, client_files):
    with socket.create_server(("127.0.0.1", 0)) as server:  # the kernel accepts, nobody greets
        client_files.write(server.getsockname()[1])
        with pytest.raises(ConnectError):
            login(make_profile, client_files, connect_timeout_s=0.5)


OTHER = paramiko.ECDSAKey.generate()
RSA = paramiko.RSAKey.generate(2048)
REASONS = {
    "unknown": ("is not known", "host key is known for"),
    "changed": ("HAS CHANGED", "IDENTIFICATION HAS CHANGED"),
    "revoked": ("is REVOKED", "is marked as revoked"),
}
"""What mosdeploy and what `ssh` say when they refuse a key."""

LINES = (
    ("127.0.0.1 KEY", None),
    ("* OTHER\n127.0.0.1 KEY", "changed"),
    ("127.0.0.1 OTHER", "unknown"),
    ("HOST RSA\n127.0.0.1 KEY", "changed"),
    ("HOST OTHER\nHOST KEY", None),
    ("*:PORT KEY", None),
    ("*,!127.0.0.1,!HOST KEY", "unknown"),
    ("[127.*]:*,![127.0.0.1]:* KEY", "unknown"),
    ("HASHED KEY", None),
    ("HASHED OTHER", "changed"),
    ("|1|x|y KEY\n|1|==|= KEY\n|2 KEY", "unknown"),
    ("# comment\N{LINE SEPARATOR}HOST KEY\n# comment\vHOST KEY\n# comment\rHOST KEY", "unknown"),
    ("@cert-authority * KEY", "unknown"),
    ("@cert-authority * OTHER\n127.0.0.1 KEY", None),
    ("@revoked * KEY\n127.0.0.1 KEY", "revoked"),
    ("@revoked 127.0.0.1 KEY\n127.0.0.1 KEY", "revoked"),
    ("@revoked * OTHER\n127.0.0.1 KEY", None),
)
"""Lines of known_hosts, and why a key of a host is refused that listens on another port than 22."""


def write_lines(files, server, lines):
    name = f"[127.0.0.1]:{server.port}"
    words = {"HOST": name, "PORT": str(server.port), "HASHED": paramiko.HostKeys.hash_host(name)}
    keys = {"KEY": server.host_key, "OTHER": OTHER, "RSA": RSA}
    words |= {word: f"{key.get_name()} {key.get_base64()}" for word, key in keys.items()}
    found = re.sub("|".join(words), lambda word: words[word[0]], lines)
    files.known_hosts.write_text(found + "\n", newline="")


def refused(make_profile, files):
    """Why mosdeploy does not log in; None where it does."""
    try:
        with open_session(make_profile("ssh"), files.config) as session:
            assert session.run("true").returncode == 0
    except HostKeyError as error:
        return next(reason for reason, (said, _) in REASONS.items() if said in str(error))


@pytest.mark.parametrize(("lines", "reason"), LINES)
def test_a_key_is_known_by_any_line_that_is_about_the_host(
    make_profile, client_files, double, lines, reason
):
    write_lines(client_files, double, lines)
    assert refused(make_profile, client_files) == reason
    assert reason is None or not any(x.is_authenticated() for x in double.transports)


@pytest.mark.ssh
@pytest.mark.skipif(not SSHD.exists(), reason="no OpenSSH server here")
def test_openssh_accepts_and_refuses_the_same(server):
    command = ["ssh", "-F", str(server.files.config), "-o", "StrictHostKeyChecking=yes"]
    found = []
    for lines, _ in LINES:
        write_lines(server.files, server, lines)
        done = subprocess.run([*command, "dev", "true"], check=False, capture_output=True)
        said = done.stderr.decode()
        reasons = [reason for reason, (_, words) in REASONS.items() if words in said]
        # of a revoked key it says at last that it knows no other one
        found.append((lines, reasons[-1] if done.returncode else None))
    assert tuple(found) == LINES


def test_a_host_key_alias_is_another_host(make_profile, client_files, double):
    client_files.write(double.port, extra="  HostKeyAlias My-Board\n")
    for lines, reason in (("127.0.0.1 KEY", "unknown"), ("my-* KEY", None), ("* OTHER", "changed")):
        write_lines(client_files, double, lines)
        assert refused(make_profile, client_files) == reason


def test_a_host_is_asked_for_a_key_of_a_known_kind(make_profile, client_files, double):
    double.more_keys.append(RSA)
    for lines in ("127.0.0.1 RSA", "127.0.0.1 KEY", "HOST RSA\n* RSA"):
        write_lines(client_files, double, lines)
        assert refused(make_profile, client_files) is None


IN_THE_WILD = b"""\
Include conf.d/*
Host gate 10.0.0.? !bad
    HostName=gate.example
    Port 2200
Host dev
    ProxyJump me@gate:22, inner
    IdentityFile "~/.ssh/id ed"
    UserKnownHostsFile ~/.ssh/%h
    ServerAliveInterval 7
Host *
    IdentitiesOnly yes
"""
WORDS = (
    *(
        b"Include ",
        b"Match all\n",
        b"Host dev\n",
        b"ProxyCommand x\n",
        b"ProxyJump ssh://[::1]:2\n",
    ),
    *(b"%d", b"%%", b"~nobody/x", b"**", b"[", b"\x00", b"/", b"../", b"Port 70000\n"),
)
"""Pieces that an ssh_config means something by."""


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads the hops to an alias of the given text."""
    monkeypatch.setenv("HOME", str(tmp_path))

    def hops(text, alias="dev"):
        path = tmp_path / "config"
        path.write_text(text)
        return hops_to(alias, path)

    return hops


def test_without_options_the_defaults_of_openssh_hold(read):
    (target,) = read("", "board")
    assert (target.hostname, target.port, target.user) == ("board", 22, getpass.getuser())
    assert "known_hosts" in {path.name for path in target.known_hosts_paths}
    assert (target.jumps, target.identity_paths, target.use_whole_agent) == ((), (), True)


def test_options_count_as_ssh_counts_them(read, tmp_path):
    """An included file, a Match, tokens; the first value of an option holds."""
    key = tmp_path / "a key-10.0.0.7"
    key.touch()
    (tmp_path / "more").write_text("Host dev\n  Port 2222\nHost *\n  User pi\n")
    (target,) = read(
        f"Include {tmp_path}/more\n"
        f'Host dev\n  Port 1\n  HostName 10.0.0.7\n  IdentityFile "~/a key-%h"\n'
        "  IdentityFile ~/not-there\n  IdentitiesOnly yes\n  HostKeyAlias my-board\n"
        "  UserKnownHostsFile /a /b-%k\n  GlobalKnownHostsFile none\n  ServerAliveInterval 7\n"
        "Match host 10.0.0.7\n  User nobody\n  CertificateFile /x\n"
    )
    assert (target.hostname, target.port, target.user) == ("10.0.0.7", 2222, "pi")
    assert target.identity_paths == (key,)
    assert not target.use_whole_agent
    assert [str(path) for path in target.known_hosts_paths] == ["/a", "/b-my-board"]
    assert (target.key_names, target.keepalive_s) == (("my-board",), 7)
    assert target.ignored_options == ("CertificateFile",)


def test_each_jump_is_looked_up_with_its_user_and_port(read):
    hops = read(
        "Host dev\n  ProxyJump me@gate:2200,[::1]:23\n"
        "Host gate\n  HostName gate.example\n  ProxyJump first\n  Port 1\n  User you\n"
    )
    found = [(hop.hostname, hop.port) for hop in hops]
    assert found == [("first", 22), ("gate.example", 2200), ("::1", 23), ("dev", 22)]
    assert hops[1].user == "me"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Host dev\n  ProxyCommand nc %h %p\n", "ProxyCommand"),
        ("Host dev\n  RevokedHostKeys /etc/revoked\n", "RevokedHostKeys"),
        ("Host dev\n  ProxyJump gate\nHost gate\n  ProxyJump dev\n", "circle"),
        ("Host dev\n  Port x\n", "line 2"),
        ('Host "dev\n', "config"),
        ("Host dev\n  ProxyJump none\n  ProxyCommand none\n", None),
    ],
)
def test_what_is_not_supported_is_refused(read, text, word):
    if word is None:
        assert len(read(text)) == 1
        return
    with pytest.raises(ConfigError, match=word):
        read(text)


def test_a_file_that_is_missing_and_a_machine_without_ssh(read, tmp_path, monkeypatch):
    for missing in (tmp_path / "missing", Path("~nouser/x")):
        with pytest.raises(ConfigError, match="No such file"):
            hops_to("dev", missing)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="openssh-client"):
        read("")


def test_the_file_is_named_where_openssh_needs_it(tmp_path):
    assert config_words(DEFAULT_PATH) == config_words(DEFAULT_PATH.expanduser()) == []
    assert config_words(tmp_path / "my config") == ["-F", f"{tmp_path}/my config"]


@fuzzed(30)
@given(data=st.data())
def test_any_ssh_config_is_used_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("fuzzed") / "config"
    content = damage(IN_THE_WILD, data)
    for _ in range(data.draw(st.integers(0, 2))):
        place = data.draw(st.integers(0, len(content)))
        content = content[:place] + data.draw(st.sampled_from(WORDS)) + content[place:]
    path.write_bytes(content)
    with only(ConfigError):
        hops = hops_to("dev", path)
        assert hops[-1].alias == "dev"
        assert all(0 < hop.port < 65536 for hop in hops)
