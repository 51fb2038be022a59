import errno
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Literal

import pytest

from mosdeploy.errors import DeviceBusyError, MosdeployError, StaleInputError
from mosdeploy.record import Record
from mosdeploy.storage import (
    append_line,
    atomic_write,
    fingerprint,
    is_locked,
    locked,
    read_lines,
    read_record,
    sha256_bytes,
    sha256_file,
    write_record,
)


class Note(Record):
    text: str
    weight: float = 1.0


class Card(Record):
    """A record whose second version renamed a field."""

    version: Literal[2] = 2
    steps: int


# -- fingerprints


def test_sha256_of_the_empty_string(tmp_path: Path) -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (tmp_path / "empty").touch()
    assert sha256_bytes(b"") == sha256_file(tmp_path / "empty") == empty


def test_fingerprint_by_hand_and_by_content() -> None:
    assert fingerprint("a", 1, None) == sha256_bytes(b'["a",1,null]')
    assert fingerprint(Note(text="a")) == fingerprint(Note(text="a", weight=1.0))
    assert fingerprint(Note(text="a")) != fingerprint(Note(text="a", weight=1.5))
    assert fingerprint("a", "b") != fingerprint("ab")


def test_fingerprint_is_the_same_in_another_process() -> None:
    code = "from mosdeploy.storage import fingerprint; print(fingerprint('ß', 0.1, None))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.stdout.strip() == fingerprint("ß", 0.1, None)


# -- records


def test_record_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "note.json"
    write_record(path, Note(text="größer", weight=0.1))
    assert read_record(Note, path, "mosdeploy train") == Note(text="größer", weight=0.1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist; run `mosdeploy train` first"),
        (b"", "is corrupt"),
        (b'{"text": "a"', "is corrupt"),
        (b'{"text": "\xff"}', "is corrupt"),
        (b'{"txt": "a"}', "unknown key 'txt'; did you mean 'text'"),
        (b'{"text": 3}', "'text'"),
        (b"[]", "delete it and run `mosdeploy train` again"),
        (b"[" * 100_000, "is corrupt"),
        (b"1" * 5_000, "is corrupt"),
    ],
)
def test_missing_or_corrupt_record_names_file_and_verb(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "note.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StaleInputError) as caught:
        read_record(Note, path, "mosdeploy train")
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "mosdeploy train" in str(caught.value)


def card_file(folder: Path, content: object) -> Path:
    path = folder / "card.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"version": 1, "updates": 5}, r"an older mosdeploy \(version 1, needed is 2\); run"),
        ({"version": 3, "num": 5}, r"a newer mosdeploy \(version 3, needed is 2\); update"),
        (
            {"version": 2, "steps": 5, "epochs": 1},
            r"another version of mosdeploy \(unknown key 'epochs'; known keys: .*\); update",
        ),
    ],
)
def test_a_record_of_another_version_is_refused_and_not_called_damaged(
    tmp_path: Path, data: dict[str, int], message: str
) -> None:
    path = card_file(tmp_path, data)
    with pytest.raises(StaleInputError, match=rf"card\.json was made by {message}") as caught:
        read_record(Card, path, "mosdeploy train")
    assert "run `mosdeploy train` again" in str(caught.value)
    assert "delete" not in str(caught.value)


@pytest.mark.parametrize("version", ["2", True, 2.5, None])
def test_a_version_that_is_no_number_is_refused(tmp_path: Path, version: object) -> None:
    path = card_file(tmp_path, {"version": version, "steps": 5})
    with pytest.raises(StaleInputError, match="'version'"):
        read_record(Card, path, "mosdeploy train")


def test_records_without_a_version_have_none_to_check(tmp_path: Path) -> None:
    path = card_file(tmp_path, {"text": "a", "version": 1})
    with pytest.raises(StaleInputError, match="unknown key 'version'"):
        read_record(Note, path, "mosdeploy train")


def test_a_folder_in_place_of_a_file_cannot_be_read(tmp_path: Path) -> None:
    for read in (
        lambda path: read_record(Card, path, "mosdeploy train"),
        read_lines,
        sha256_file,
    ):
        with pytest.raises(StaleInputError, match="cannot be read: Is a directory"):
            read(tmp_path)
    with pytest.raises(MosdeployError, match="cannot write"):
        atomic_write(tmp_path, "content")


# -- JSON Lines


def test_lines_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lines.jsonl"
    append_line(path, Note(text="a\nb"))
    append_line(path, {"loss": 2.5})
    lines, torn = read_lines(path)
    assert [json.loads(line) for line in lines] == [{"text": "a\nb", "weight": 1.0}, {"loss": 2.5}]
    assert not torn


def test_missing_file_has_no_lines(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "none.jsonl") == ([], False)


@pytest.mark.parametrize("num_whole", [0, 1, 3])
@pytest.mark.parametrize("torn", [b"{", b'{"loss": 1', b"x" * 200_000])
def test_torn_last_line_is_left_out_and_cut_off(
    tmp_path: Path, num_whole: int, torn: bytes
) -> None:
    path = tmp_path / "lines.jsonl"
    whole = [b'{"loss": %d}' % i for i in range(num_whole)]
    path.write_bytes(b"".join(line + b"\n" for line in whole) + torn)
    assert read_lines(path) == (whole, True)
    append_line(path, {"loss": 9})
    assert read_lines(path) == ([*whole, b'{"loss": 9}'], False)


@pytest.mark.parametrize("cut", range(1, 13))
def test_wherever_a_kill_cuts_the_last_line_the_others_stay(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "lines.jsonl"
    append_line(path, {"loss": 1})
    append_line(path, {"loss": 2})
    path.write_bytes(path.read_bytes()[:-cut])
    append_line(path, {"loss": 3})
    lines, _ = read_lines(path)
    assert [json.loads(line)["loss"] for line in lines] == [1, 3]


BUSY = DeviceBusyError("another profile is running on 'rpi'; wait for it")


def test_second_lock_refuses_and_a_freed_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "latency.jsonl"
    with locked(path, BUSY), pytest.raises(DeviceBusyError) as caught, locked(path, BUSY):
        pass
    assert caught.value is BUSY
    with locked(path, BUSY), locked(tmp_path / "other.jsonl", BUSY):
        pass


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "latency.jsonl"
    code = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from mosdeploy.errors import DeviceBusyError
        from mosdeploy.storage import locked
        with locked(Path(sys.argv[1]), DeviceBusyError("busy")):
            print("held", flush=True)
            time.sleep(60)
    """)
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True, env=env
    )
    assert holder.stdout is not None
    with holder, holder.stdout:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DeviceBusyError), locked(path, BUSY):
            pass
        holder.kill()
        holder.wait(timeout=10)
    with locked(path, BUSY):
        pass


def test_a_file_system_without_locks_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("mosdeploy.storage.fcntl.flock", refuse)
    with (
        pytest.raises(MosdeployError, match=r"latency\.jsonl: No locks available"),
        locked(tmp_path / "latency.jsonl", BUSY),
    ):
        pass


def test_whether_a_lock_is_held_is_told_without_writing(tmp_path: Path) -> None:
    path = tmp_path / "latency.jsonl"
    assert not is_locked(path)
    assert not list(tmp_path.iterdir())
    with locked(path, BUSY):
        assert is_locked(path)
    assert not is_locked(path)
