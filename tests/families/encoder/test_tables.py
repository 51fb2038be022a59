"""Rows of tables whose quotes do not pair."""

from pathlib import Path

import pytest

from mosdeploy.errors import ConfigError
from mosdeploy.families.encoder.tables import read_rows

HEAD = "label,text\n1,fine film\n"


@pytest.mark.parametrize(
    ("rest", "line", "reason"),
    [
        ('0,"a bad start\n1,good\n0,awful\n', 3, "unexpected end of data"),
        ('0,"a bad start\n1,good\n0,he said "no" twice\n', 3, "expected after"),
        ('1,good\n1,"He said "yes" to me"\n0,no\n', 4, "expected after"),
    ],
)
def test_a_quote_that_is_not_closed_swallows_no_rows(
    tmp_path: Path, rest: str, line: int, reason: str
) -> None:
    (tmp_path / "a.csv").write_text(HEAD + rest)
    message = rf"a\.csv, line {line}: the row that begins here .*{reason}.* written twice .*\.tsv"
    with pytest.raises(ConfigError, match=message):
        list(read_rows("a.csv", tmp_path))


def test_quotes_that_are_no_mistake(tmp_path: Path) -> None:
    quotes = '0,"he said ""no"",\nthen left"\n1,a 5" nail\n'
    (tmp_path / "a.csv").write_text(HEAD + quotes)
    found = [row.cells["text"] for row in read_rows("a.csv", tmp_path)]
    assert found == ["fine film", 'he said "no",\nthen left', 'a 5" nail']
    (tmp_path / "a.tsv").write_text('label\ttext\n0\t"a bad start\n1\tgood\n')
    found = [row.cells["text"] for row in read_rows("a.tsv", tmp_path)]
    assert found == ['"a bad start', "good"]


def test_a_carriage_return_within_a_cell(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b"label\ttext\n0\ta bad\rstart\n\n1\tgood\r\n")
    found = [(row.place[-6:], row.cells["text"]) for row in read_rows("a.tsv", tmp_path)]
    assert found == [("line 2", "a bad\rstart"), ("line 4", "good")]
    (tmp_path / "a.csv").write_bytes(b"label,text\n0,good\n1,a bad\rstart\n")
    with pytest.raises(ConfigError, match=r"a\.csv, line 3: .*carriage return"):
        list(read_rows("a.csv", tmp_path))
    (tmp_path / "a.csv").write_bytes(b'label,text\n1,"a bad\rstart"\n')
    assert [row.cells["text"] for row in read_rows("a.csv", tmp_path)] == ["a bad\rstart"]


@pytest.mark.parametrize("name", ["texts.CSV.gz", "texts.csv.gz", "texts.json", "texts.parquet"])
def test_a_table_of_another_ending_is_not_read_as_lines(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("text,label\na,b\n")
    with pytest.raises(ConfigError, match="a table, but its name does not end in"):
        list(read_rows(name, tmp_path))


def test_a_quote_behind_a_space_within_quotes_is_meant(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(HEAD + '0," ""no"", she said"\n1,"he said, ""yes"""\n')
    found = [row.cells["text"] for row in read_rows("a.csv", tmp_path)]
    assert found[1:] == [' "no", she said', 'he said, "yes"']
