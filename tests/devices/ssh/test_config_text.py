"""An ssh_config with all that it includes stands for what OpenSSH takes it for."""

import shutil
import subprocess
from pathlib import Path

import pytest

from mosdeploy.devices.ssh.config_text import read_ssh_config
from mosdeploy.devices.ssh.login import way_to
from mosdeploy.errors import ConfigError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path


@pytest.fixture
def looked_up(home):
    """What an alias stands for; the file `inner` may be included."""

    def look_up(text, inner="", alias="pi"):
        (home / "inner").write_text(inner)
        path = home / ".ssh" / "config"
        path.write_text(text.replace("INNER", str(home / "inner")))
        target = way_to(alias, path)[-1]
        found = (target.hostname, target.port, target.user)
        if shutil.which("ssh"):
            told = subprocess.run(
                ["ssh", "-F", path, "-G", alias], check=True, capture_output=True, text=True
            ).stdout
            values = dict(line.split(" ", 1) for line in told.splitlines() if " " in line)
            assert found == (values["hostname"], int(values["port"]), values["user"])
        return found

    return look_up


@pytest.mark.parametrize("between", [" ", "\t", "=", " = "])
def test_includes_are_read_in_place(home, between):
    (home / ".ssh" / "conf.d").mkdir()
    (home / ".ssh" / "conf.d" / "1").write_text("Host one\n  Port 1\n")
    (home / ".ssh" / "conf.d" / "2").write_text("Host two\n")
    config = home / ".ssh" / "config"
    config.write_text(f"User top\ninclude{between}conf.d/*\nHost last\n")
    lines = read_ssh_config(Path("~/.ssh/config")).split("\n")
    assert [line for line in lines if line] == [
        "user top",
        "Match originalhost one",
        "port 1",
        "Host *",
        "Match originalhost two",
        "Host *",
        "Match originalhost last",
    ]
    config.write_text("Include config\n")
    with pytest.raises(ConfigError, match="too many levels"):
        read_ssh_config(config)


def test_only_the_default_file_may_be_missing(home):
    assert read_ssh_config(Path("~/.ssh/config")) == ""
    with pytest.raises(ConfigError, match="other cannot be read"):
        read_ssh_config(home / "other")


@pytest.mark.parametrize(
    "criterion",
    ["localnetwork 10.0.0.0/8", "!tagged x", "host pi sessiontype shell", "command x", "!all"],
)
def test_a_match_that_is_not_known_is_refused(home, criterion):
    config = home / ".ssh" / "config"
    config.write_text(f"Port 1\nMatch {criterion}\n  HostName 10.0.0.9\n")
    name = criterion.split()[-2 if " " in criterion else 0]
    told = rf"config, line 2: Match '{name}' is not supported, only all, .*--ssh-config"
    with pytest.raises(ConfigError, match=told):
        way_to("pi", config)
    config.write_text("Match host\n")
    with pytest.raises(ConfigError, match="line 1: Match host says nothing"):
        way_to("pi", config)


@pytest.mark.parametrize(
    ("criteria", "is_met"),
    [
        ("all", True),
        ("Host pi", True),
        ('OriginalHost "pi"', True),
        ("!host pi", False),
        ("!host other user me", True),
        ("originalhost other", False),
        ("host o*,p*", True),
        ("localuser nobody-at-all", False),
        ("host pi # Bob's", True),
    ],
)
def test_a_match_is_that_of_openssh(looked_up, criteria, is_met):
    text = f"User me\nMatch {criteria}\n  Port 7\nHost *\n  Port 9\n"
    assert looked_up(text) == ("pi", 7 if is_met else 9, "me")


BOARD = "Host other\n  HostName 10.0.0.9\n"


def test_behind_an_include_its_block_goes_on(looked_up):
    assert looked_up("Include INNER\nUser me\nPort 7\n", BOARD) == ("pi", 7, "me")
    block = "Host pi\n  Include INNER\n  User me\nHost *\n  User you\n  Port 9\n"
    assert looked_up(block, BOARD) == ("pi", 9, "me")
    assert looked_up(block, BOARD, "other") == ("other", 9, "you")


def test_an_include_in_a_block_holds_for_its_hosts(looked_up):
    inner = "User inner\nHost *\n  Port 7\nMatch all\n  HostName 10.0.0.9\n"
    for block in ("Host other", "Match originalhost other"):
        text = f"{block}\n  Include INNER\nHost *\n  User me\n  Port 9\n"
        assert looked_up(text, inner) == ("pi", 9, "me")
        assert looked_up(text, inner, "other") == ("10.0.0.9", 7, "inner")


def test_a_block_that_cannot_be_begun_again_includes_no_blocks(home, looked_up):
    text = "Match host pi\n  HostName 10.0.0.7\n  Include INNER\n  Port 7\nHost *\n  User me\n"
    assert looked_up(text, "User inner\n") == ("10.0.0.7", 7, "inner")
    with pytest.raises(ConfigError, match=r"line 3: .*inner has Host or Match lines .* at the top"):
        looked_up(text, BOARD)


def test_a_comment_behind_a_value_is_dropped(home, looked_up):
    (home / "a # b").write_text("Port 7\n")
    text = f'HostName 127.0.0.1   # the pi\nUser me#1 # Bob\'s\nInclude "{home}/a # b" # c\n'
    assert looked_up(text) == ("127.0.0.1", 7, "me#1")
    config = home / ".ssh" / "config"
    config.write_text("ProxyCommand nc %h # x\n")
    assert read_ssh_config(config) == "proxycommand nc %h # x\n"


def test_quotes_around_files_of_host_keys_are_kept(home):
    config = home / ".ssh" / "config"
    config.write_text(
        f'UserKnownHostsFile "{home}/a b" "{home}/c" # d\nGlobalKnownHostsFile "/e f"\n'
    )
    paths = way_to("pi", config)[-1].known_hosts_paths
    assert paths == (home / "a b", home / "c", Path("/e f"))
