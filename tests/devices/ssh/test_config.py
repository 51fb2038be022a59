"""What an alias stands for."""

import getpass
import re
from pathlib import Path
from types import SimpleNamespace

import paramiko.config
import pytest
from fuzzing import damage, fuzzed, only
from hypothesis import given
from hypothesis import strategies as st

from mosdeploy.devices.ssh.config import make_target, parse_jump
from mosdeploy.devices.ssh.login import way_to
from mosdeploy.errors import ConfigError

IN_THE_WILD = b"""\
Include conf.d/*
Host gate 10.0.0.? !bad
    HostName=gate.example
    Port 2200
Host dev
    ProxyJump me@gate:22, inner
    IdentityFile "~/.ssh/id ed"
    UserKnownHostsFile ~/.ssh/%h none
    ServerAliveInterval 7
Match host dev exec "false"
    Port 23
Host *
    IdentitiesOnly yes
"""
WORDS = (
    *(b"Include ", b"Match all\n", b'Match exec "true"\n', b"Host dev\n", b"ProxyCommand x\n"),
    *(
        b"%d",
        b"%%",
        b"~nobody/x",
        b"**",
        b"[",
        b"\x00",
        b"/",
        b"../",
        b"Port 70000\n",
        b"Port -1\n",
    ),
    *(b"Hostname %h.%%.%x\n", b"CanonicalizeHostname yes\n", b"ProxyJump ssh://[::1]:22\n"),
)
"""Pieces that an ssh_config means something by."""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def test_without_options_the_defaults_of_openssh_hold(home):
    target = make_target("board", {})
    assert (target.hostname, target.port, target.user) == ("board", 22, getpass.getuser())
    assert home / ".ssh" / "known_hosts" in target.known_hosts_paths
    assert (target.jumps, target.identity_paths, target.use_whole_agent) == ((), (), True)


def test_every_option_is_honoured(home):
    key = home / "key"
    key.touch()
    target = make_target(
        "board",
        {
            "hostname": "10.0.0.7",
            "port": "2222",
            "user": "pi",
            "identityfile": ["~/key", "~/not-there"],
            "identitiesonly": "yes",
            "userknownhostsfile": "~/a ~/b",
            "globalknownhostsfile": "none",
            "hostkeyalias": "my-board",
            "serveraliveinterval": "7",
            "proxyjump": "me@gate:2200, inner",
        },
    )
    assert (target.hostname, target.port, target.user) == ("10.0.0.7", 2222, "pi")
    assert target.identity_paths == (key,)
    assert not target.use_whole_agent
    assert target.known_hosts_paths == (home / "a", home / "b")
    assert (target.host_key_name, target.keepalive_s) == ("my-board", 7)
    assert target.jumps == ("me@gate:2200", "inner")


def known_hosts(home, value, **options):
    options = {"userknownhostsfile": value, "globalknownhostsfile": "none", **options}
    return make_target("board", options).known_hosts_paths


def test_files_of_host_keys_may_have_spaces_and_tokens(home, monkeypatch):
    monkeypatch.setenv("WHERE", "/etc")
    assert known_hosts(home, '"/tmp/with space/known" ~/b') == (
        Path("/tmp/with space/known"),
        home / "b",
    )
    assert known_hosts(home, "%d/%h-%k ${WHERE}/%n-%p-%%", hostname="10.0.0.7") == (
        home / "10.0.0.7-board",
        Path("/etc/board-22-%"),
    )
    assert known_hosts(home, "/%k-%r-%u", hostkeyalias="mine", user="pi") == (
        Path(f"/mine-pi-{getpass.getuser()}"),
    )
    # OpenSSH takes the system's as they stand
    assert known_hosts(home, "none", globalknownhostsfile='"/x y/%h"') == (Path("/x y/%h"),)


@pytest.mark.parametrize("token", ["%C", "%j", "%", "${NO_SUCH_VARIABLE}"])
def test_tokens_that_stand_for_nothing_are_told(home, token):
    with pytest.raises(ConfigError, match=rf"has {re.escape(token)}, which stands .*: write the"):
        known_hosts(home, f"/tmp/{token}")
    with pytest.raises(ConfigError, match=r"userknownhostsfile: .* No closing quotation"):
        known_hosts(home, '"/tmp/a')


def test_what_makes_no_sense_is_said():
    with pytest.raises(ConfigError, match="ProxyCommand is not supported; use ProxyJump"):
        make_target("board", {"proxycommand": "nc %h %p"})
    with pytest.raises(ConfigError, match="Port must be a whole number, got 'ssh'"):
        make_target("board", {"port": "ssh"})
    with pytest.raises(ConfigError, match="Port must be from 1 to 65535, got 70000"):
        make_target("board", {"port": "70000"})
    with pytest.raises(ConfigError, match="'gate': Port must be from 1 to 65535, got 0"):
        parse_jump("me@gate:0")
    with pytest.raises(ConfigError, match=r"IdentityFile .*missing does not exist"):
        make_target("board", {"identityfile": ["~/missing"]})
    assert make_target("board", {"proxyjump": "none", "proxycommand": "none"}).jumps == ()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("gate", ("gate", None, None)),
        ("me@gate", ("gate", "me", None)),
        ("me@gate:22", ("gate", "me", 22)),
        ("[::1]:2200", ("::1", None, 2200)),
        ("ssh://me@gate:1", ("gate", "me", 1)),
    ],
)
def test_a_jump_is_user_host_port(text, parts):
    assert parse_jump(text) == parts


def test_a_jump_spelt_otherwise_is_refused():
    with pytest.raises(ConfigError, match="is not"):
        parse_jump("gate:port")


@pytest.fixture
def no_commands(monkeypatch):
    """What `Match exec` names is not run."""
    run = SimpleNamespace(run=lambda command, **_: SimpleNamespace(ok=len(command) % 2 == 0))
    monkeypatch.setattr(paramiko.config, "invoke", run)


@pytest.mark.usefixtures("no_commands")
@fuzzed(50)
@given(data=st.data())
def test_any_ssh_config_is_used_or_refused(home, data):
    folder = home / ".ssh" / "conf.d"
    folder.mkdir(exist_ok=True)
    (folder / "1").write_text("Host inner\n  Port 24\n")
    (home / ".ssh" / "id ed").touch()
    content = damage(IN_THE_WILD, data)
    for _ in range(data.draw(st.integers(0, 2))):
        place = data.draw(st.integers(0, len(content)))
        content = content[:place] + data.draw(st.sampled_from(WORDS)) + content[place:]
    path = home / ".ssh" / "config"
    path.write_bytes(content)
    with only(ConfigError):
        hops = way_to("dev", path)
        assert hops[-1].alias == "dev"
        assert all(0 < hop.port < 65536 for hop in hops)
