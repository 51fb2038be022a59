"""Lines of text files: packed or not, and what is wrong is named with its line."""

import gzip
from pathlib import Path

import pytest

from mosdeploy.data.text_files import read_text_lines, split_by_hash
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


def test_shares_and_order() -> None:
    splits = split_by_hash(range(2000), str, valid_share=0.1, test_share=0.2)
    assert sorted(x for split in splits for x in split) == list(range(2000))
    assert all(split == sorted(split) for split in splits)
    train, valid, test = (len(split) for split in splits)
    # within four standard errors
    assert abs(valid - 200) < 54 and abs(test - 400) < 72 and train > 1200
    assert [len(x) for x in split_by_hash(range(9), str, 0.0, 0.0)] == [9, 0, 0]


def test_more_examples_and_equal_keys_change_nothing() -> None:
    def key(number: int) -> str:
        return str(number // 2)

    few = split_by_hash(range(0, 400, 2), key, 0.2, 0.2)
    many = split_by_hash(range(600), key, 0.2, 0.2)
    for some, more in zip(few, many, strict=True):
        assert set(some) < set(more)
        assert {x + 1 for x in some} < set(more)
