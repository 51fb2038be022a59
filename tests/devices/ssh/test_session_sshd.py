"""What has no SFTP, is stopped halfway or done by two at once, with a real OpenSSH server on
loopback.
"""

import contextlib
import os
import shlex
import signal
import sys
import threading
from functools import partial
from pathlib import Path

import paramiko
import pytest
from openssh import SFTP_SERVER, SSHD, OpenSSHServer
from stalling_proxy import StallingProxy
from watching import is_alive, wait_for

from mosdeploy.devices.connect import LastingSession, open_session
from mosdeploy.devices.device import Device
from mosdeploy.devices.setup import setup
from mosdeploy.errors import CommandError, ConnectionLostError

pytestmark = [
    pytest.mark.ssh,
    pytest.mark.skipif(not SSHD.exists(), reason="no OpenSSH server here"),
]

DATA = os.urandom(300_000)


@pytest.fixture
def opener(server, make_profile):
    return partial(open_session, make_profile("ssh"), server.files.config)


@pytest.fixture
def serve(tmp_path, client_files):
    """Starts an OpenSSH server with the given options, and closes it in the end."""
    made = OpenSSHServer(tmp_path / "sshd", client_files)

    def serve(**options):
        made.start(**options)
        return made

    with contextlib.closing(made):
        yield serve


@pytest.mark.skipif(not SFTP_SERVER.exists(), reason="no SFTP server of Debian here")
def test_a_talkative_shell_in_the_way_of_sftp_is_named(serve, make_profile):
    server = serve(sftp=SFTP_SERVER)
    (server.home / ".bashrc").write_text("echo welcome\n")
    opener = partial(open_session, make_profile("ssh"), server.files.config)
    with LastingSession(opener, pytest.fail) as session:
        assert session.run("echo hello").stdout == "hello\n"
        for call in (
            lambda: session.read("/etc/hostname"),
            lambda: session.put_bytes(b"x", str(server.folder / "x")),
        ):
            with pytest.raises(CommandError, match=r"~/\.bashrc print something\? Guard it"):
                call()
        (server.home / ".bashrc").write_text("[ -t 0 ] || return\necho welcome\n")
        session.put_bytes(b"x", str(server.folder / "x"))
        assert session.read(str(server.folder / "x")) == b"x"


@pytest.mark.parametrize("sftp", [None, "/nowhere/sftp-server"])
def test_a_device_without_an_sftp_server_is_told_from_a_lost_link(serve, make_profile, sftp):
    opener = partial(open_session, make_profile("ssh"), serve(sftp=sftp).files.config)
    with LastingSession(opener, pytest.fail) as session:
        with pytest.raises(CommandError, match="no SFTP server: install openssh-sftp-server"):
            session.read("/etc/hostname")
        assert session.run("echo hello").stdout == "hello\n"


@contextlib.contextmanager
def pid_once(path, act):
    """Acts when a file holds a pid, which is given; what has that pid is killed in the end."""

    def wait_and_act():
        wait_for(lambda: path.exists() and path.read_text().endswith("\n"))
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    try:
        yield lambda: int(path.read_text())
    finally:
        thread.join()
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(path.read_text()), signal.SIGKILL)


@pytest.fixture(autouse=True)
def heeds_interrupts():
    """Raises KeyboardInterrupt at Ctrl-C: a suite in the background may have to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def test_a_command_that_is_interrupted_is_ended(opener, tmp_path):
    path = tmp_path / "pid"
    with opener() as session, pid_once(path, interrupt) as pid:
        with pytest.raises(KeyboardInterrupt):
            session.run(f"sleep 300 & echo $! > {shlex.quote(str(path))}; wait", 290)
        wait_for(lambda: not is_alive(pid()))
        assert session.run("echo hello").stdout == "hello\n"


def test_a_command_is_ended_that_is_interrupted_before_its_group_is_known(opener, server, tmp_path):
    path, goes_on, began = (tmp_path / name for name in ("pid", "goes_on", "began"))
    (server.home / ".bashrc").write_text(
        f"[ -e {path} ] || echo $$ > {path}\nwhile [ ! -e {goes_on} ]; do sleep 0.05; done\n"
    )
    with contextlib.closing(StallingProxy(server.port)) as proxy:
        server.write_files(port=proxy.port)

        def interrupt_with_the_group_on_its_way():
            proxy.flowing.clear()
            goes_on.touch()
            wait_for(began.exists)
            interrupt()
            proxy.flowing.set()

        with opener() as session, pid_once(path, interrupt_with_the_group_on_its_way) as pid:
            with pytest.raises(KeyboardInterrupt):
                session.run(f"touch {began}; sleep 300", 290)
            wait_for(lambda: not is_alive(pid()))


def write_slow_python(folder, python):
    """A Python whose environments have a pip that does not end while a file `slow` is there. An
    environment is not made in a folder that exists, as where an earlier pip still writes.
    """
    inner = folder / "inner"
    inner.write_text(
        f'#!/bin/sh\n[ "$2" = pip ] || exec {sys.executable} "$@"\n'
        f"rm {folder}/slow || exit 0\necho $$ > {folder}/pid\nexec sleep 300\n"
    )
    inner.chmod(0o755)
    outer = folder / "outer"
    outer.write_text(
        f'#!/bin/sh\n[ "$2" = venv ] || exec {python} "$@"\nfor made; do :; done\n'
        f'mkdir "$made" || exit 1\nmkdir "$made/bin" && cp {inner} "$made/bin/python"\n'
    )
    outer.chmod(0o755)
    (folder / "slow").touch()
    return str(outer)


@pytest.mark.parametrize("is_cut", [False, True], ids=["interrupted", "cut"])
def test_a_setup_that_was_stopped_is_done_again(
    server, make_profile, bare_python, tmp_path, is_cut
):
    profile = make_profile("ssh", python=write_slow_python(tmp_path, bare_python))
    stop = server.kill_connections if is_cut else interrupt
    with pid_once(tmp_path / "pid", stop) as pid:
        with (
            open_session(profile, server.files.config) as session,
            pytest.raises(ConnectionLostError if is_cut else KeyboardInterrupt),
        ):
            setup(Device(session, profile))
        if not is_cut:
            wait_for(lambda: not is_alive(pid()))
        with open_session(profile, server.files.config) as session:
            setup(Device(session, profile))
        assert is_alive(pid()) == is_cut
    names = sorted(path.name for path in Path(profile.work_dir).glob("venv*"))
    assert names == ["venv", (Path(profile.work_dir) / "venv").readlink().name]


def put_bytes(session, target):
    session.put_bytes(DATA, str(target))


def put(session, target):
    source = target.with_suffix(".source")
    source.write_bytes(DATA)
    session.put(source, str(target))


@pytest.fixture
def first_time(monkeypatch):
    """Does something the first time that a method is called, before the method."""

    def change(owner, name, act):
        real = getattr(owner, name)
        acts = [act]

        def changed(*arguments, **options):
            if acts:
                acts.pop()()
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, changed)

    return change


@pytest.mark.parametrize("upload", [put, put_bytes])
@pytest.mark.parametrize(
    ("owner", "name"), [(paramiko.SFTPFile, "write"), (paramiko.SFTPClient, "posix_rename")]
)
def test_an_upload_that_another_one_overtakes_ends_well(
    opener, tmp_path, first_time, upload, owner, name
):
    target = tmp_path / "folder" / "target"
    target.parent.mkdir()
    with opener() as session, opener() as other:
        first_time(owner, name, lambda: upload(other, target))
        upload(session, target)
    assert target.read_bytes() == DATA
    assert not list(target.parent.glob("*.part"))


@pytest.mark.parametrize("upload", [put, put_bytes])
def test_what_an_upload_has_found_whole_is_not_cut_off_by_another(
    opener, tmp_path, monkeypatch, upload
):
    """The other one has seen no part file, and opens it when it is whole."""
    target = tmp_path / "target"
    real_open, real_rename = paramiko.SFTPClient.open, paramiko.SFTPClient.posix_rename
    looked, at_rename, opened, renamed = (threading.Event() for _ in range(4))
    first = threading.current_thread()

    def open_late(client, path, mode="r", *rest):
        if threading.current_thread() is first or "w" not in mode or opened.is_set():
            return real_open(client, path, mode, *rest)
        looked.set()
        assert at_rename.wait(60)
        try:
            return real_open(client, path, mode, *rest)
        finally:
            opened.set()
            assert renamed.wait(60)

    def rename_late(client, *paths):
        if threading.current_thread() is first and not at_rename.is_set():
            at_rename.set()
            assert opened.wait(60)
        real_rename(client, *paths)

    monkeypatch.setattr(paramiko.SFTPClient, "open", open_late)
    monkeypatch.setattr(paramiko.SFTPClient, "posix_rename", rename_late)
    with opener() as session, opener() as other:
        thread = threading.Thread(target=upload, args=(other, target))
        thread.start()
        assert looked.wait(60)
        upload(session, target)
        found = target.read_bytes()
        renamed.set()
        thread.join()
    assert found == target.read_bytes() == DATA
