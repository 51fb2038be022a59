"""A host key is accepted where OpenSSH accepts it, and refused for the same reason."""

import base64
import re
import subprocess
from pathlib import Path

import paramiko
import pytest
from openssh import SSHD

from mosdeploy.devices.connect import open_session
from mosdeploy.devices.ssh.known_hosts import KnownHosts
from mosdeploy.errors import HostKeyError

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
    ("127.0.0.* KEY", None),
    ("* OTHER\n127.0.0.1 KEY", "changed"),
    ("127.0.0.1 OTHER", "unknown"),
    ("HOST RSA\n127.0.0.1 KEY", "changed"),
    ("HOST OTHER\nHOST KEY", None),
    ("HOST OTHER\n[127.*]:* KEY", None),
    ("elsewhere,[127.0.0.?]:PORT KEY", None),
    ("*:PORT KEY", None),
    ("*,!127.0.0.1,!HOST KEY", "unknown"),
    ("[127.*]:*,![127.0.0.1]:* KEY", "unknown"),
    ("[12]27.0.0.1 KEY\n[[]127.0.0.1]:PORT KEY", "unknown"),
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


def test_names_are_of_any_case_and_hashed_names_of_small_letters(tmp_path):
    key = base64.b64encode(OTHER.asbytes()).decode()
    names = ("PI5.local", paramiko.HostKeys.hash_host("pi5.local"), "pi5.*,pi6.local")
    for number, name in enumerate(names):
        path = tmp_path / str(number)
        path.write_text(f"{name} {OTHER.get_name()} {key}\n")
        assert KnownHosts(path).keys("Pi5.Local") == [OTHER]
        assert KnownHosts(path, Path("/nowhere")).keys("pi7.local") == []
