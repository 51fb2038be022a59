"""Lines of text files: packed or not, and what is wrong is named with its line."""

import gzip
from pathlib import Path

import pytest

from mosdeploy.data.text_files import read_text_lines
from mosdeploy.errors import ConfigError

CONTENT = "\ufeffeins\r\n\n zwölf \u2028x\n".encode()


@pytest.mark.parametrize("name", ["lines.txt", "lines.txt.gz"])
def test_lines_come_without_ends_and_mark(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(CONTENT) if path.suffix == ".gz" else CONTENT)
    assert list(read_text_lines(path)) == ["eins", "", " zwölf \u2028x"]


def test_the_line_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(b"one\ntw\xf6\n")
    with pytest.raises(ConfigError, match=r"lines\.txt, line 2: not UTF-8"):
        list(read_text_lines(path))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.txt: cannot be read: No such file"):
        list(read_text_lines(tmp_path / "none.txt"))
    path = tmp_path / "torn.gz"
    path.write_bytes(gzip.compress(CONTENT * 100)[:-8])
    with pytest.raises(ConfigError, match=r"torn\.gz: cannot be read"):
        list(read_text_lines(path))
