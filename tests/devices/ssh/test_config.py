"""An alias stands for what `ssh` takes it for."""

import getpass
from pathlib import Path

import pytest
from fuzzing import damage, fuzzed, only
from hypothesis import given
from hypothesis import strategies as st

from mosdeploy.devices.ssh import config
from mosdeploy.devices.ssh.config import config_words, hops_to
from mosdeploy.errors import ConfigError

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
    assert config_words(config.DEFAULT_PATH) == config_words(config.DEFAULT_PATH.expanduser()) == []
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
