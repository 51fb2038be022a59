"""What every session promises; each test runs on this machine and over SSH."""

import os
import shlex
import sys
from pathlib import Path

import pytest
from watching import is_alive, wait_for

from mosdeploy.devices.session import check_run
from mosdeploy.errors import CommandError, CommandTimeoutError


def test_words_reach_the_program_as_they_are(session):
    words = ["a b", "$HOME", "it's", "*", "\\", '"', "", "ü\n2"]
    result = session.run([sys.executable, "-c", "import sys; print(ascii(sys.argv[1:]))", *words])
    assert (result.stdout, result.returncode) == (ascii(words) + "\n", 0)


def test_text_is_a_shell_script(session):
    result = session.run("echo out; echo err >&2; false || exit 3")
    assert (result.stdout, result.stderr, result.returncode) == ("out\n", "err\n", 3)
    assert session.run("nowhere-to-be-found").returncode == 127
    assert session.run(["nowhere-to-be-found"]).returncode == 127


def test_a_signal_is_a_status_and_not_a_lost_link(session):
    assert session.run("sh -c 'kill -9 $$'").returncode == 128 + 9


def test_much_output_on_both_streams_does_not_block(session):
    script = (
        "import sys; [(print('x' * 999), print('y' * 999, file=sys.stderr)) for _ in range(3000)]"
    )
    result = session.run([sys.executable, "-c", script])
    assert (len(result.stdout), len(result.stderr)) == (3_000_000, 3_000_000)


def test_standard_input_is_closed(session):
    assert session.run("cat; echo end").stdout == "end\n"


def test_a_command_past_its_time_out_is_killed_with_its_children(session, tmp_path):
    path = tmp_path / "pid"
    with pytest.raises(CommandTimeoutError, match=r"did not end within 0\.5 s"):
        session.run(f"sleep 300 & echo $! > {shlex.quote(str(path))}; wait", timeout_s=0.5)
    wait_for(lambda: not is_alive(int(path.read_text())))
    assert session.run("echo still here").stdout == "still here\n"


def test_files_come_back_as_they_were(session, tmp_path):
    data = os.urandom(300_000)
    local = tmp_path / "local"
    local.write_bytes(data)
    remote = str(tmp_path / "a" / "b c" / "remote")
    session.put(local, remote)
    assert session.read(remote) == data
    assert session.read(remote, 299_990) == data[-10:]
    assert session.read(remote, 300_000) == session.read(remote, 400_000) == b""
    session.put_bytes(b"new", remote)
    assert session.read(remote) == b"new"
    session.put_bytes(b"", remote)
    assert session.read(remote) == b""
    assert [path.name for path in Path(remote).parent.iterdir()] == ["remote"]


def test_a_folder_that_a_command_removed_is_made_again(session, tmp_path):
    folder = tmp_path / "far" / "away"
    for content in (b"once", b"again"):
        session.put_bytes(content, f"{folder}/file")
        assert session.read(f"{folder}/file") == content
        check_run(session, ["rm", "-r", str(folder)], "removing")


def test_a_missing_file_is_told_from_an_empty_one(session, tmp_path):
    with pytest.raises(FileNotFoundError):
        session.read(str(tmp_path / "missing"))


def test_a_file_that_cannot_be_stored_or_read_says_where(session, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match="cannot write"):
        session.put_bytes(b"x", str(tmp_path / "file" / "below"))
    with pytest.raises(CommandError, match="cannot read"):
        session.read(str(tmp_path))


def test_check_run_explains_a_failure(session):
    assert check_run(session, "echo fine", "greeting") == "fine\n"
    with pytest.raises(CommandError, match=r"dev: greeting failed \(exit status 2\): too | late"):
        check_run(session, "echo too >&2; echo late >&2; exit 2", "greeting")


def test_home_is_absolute(session):
    assert session.home().startswith("/")
