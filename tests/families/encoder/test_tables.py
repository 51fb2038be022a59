"""Rows of tables: quotes that pair and do not, and what counts as a number."""

from pathlib import Path

import pytest

from mosdeploy.errors import ConfigError
from mosdeploy.families.encoder.tables import Row, read_rows

HEAD = "label,text\n1,fine film\n"


@pytest.mark.parametrize(
    ("rest", "line"),
    [
        ('0,"a bad start\n1,good\n0,awful\n', 3),
        ('0,"a bad start\n1,good\n0,he said "no" twice\n', 3),
        ('1,good\n1,"He said "yes" to me"\n0,no\n', 4),
        ("0,a bad\rstart\n", 3),
    ],
)
def test_a_quote_that_is_not_closed_swallows_no_rows(tmp_path: Path, rest: str, line: int) -> None:
    (tmp_path / "a.csv").write_bytes((HEAD + rest).encode())
    with pytest.raises(ConfigError, match=rf"a\.csv, line {line}: the row that begins here"):
        list(read_rows("a.csv", tmp_path))


def test_quotes_that_are_no_mistake(tmp_path: Path) -> None:
    rows = '0,"he said ""no"",\nthen left"\n1,a 5" nail\n1,"a bad\rstart"\n'
    (tmp_path / "a.csv").write_bytes((HEAD + rows).encode())
    found = [row.cells["text"] for row in read_rows("a.csv", tmp_path)]
    assert found == ["fine film", 'he said "no",\nthen left', 'a 5" nail', "a bad\rstart"]
    (tmp_path / "a.tsv").write_bytes(b'label\ttext\n0\t"a bad\rstart\n\n1\tgood\r\n')
    lines = [(row.place[-6:], row.cells["text"]) for row in read_rows("a.tsv", tmp_path)]
    assert lines == [("line 2", '"a bad\rstart'), ("line 4", "good")]


@pytest.mark.parametrize("name", ["texts.CSV.gz", "texts.json", "texts.parquet"])
def test_a_table_of_another_ending_is_not_read_as_lines(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("text,label\na,b\n")
    with pytest.raises(ConfigError, match="a table, but its name does not end in"):
        list(read_rows(name, tmp_path))


@pytest.mark.parametrize("cell", [True, "\u0663", "\uff11.5", "1_000", 1e39, int("1" + "0" * 400)])
def test_what_only_python_takes_for_a_number_is_refused(cell: object) -> None:
    with pytest.raises(ConfigError, match=r"column 'y' holds .* in the digits 0 to 9"):
        Row("a.jsonl, line 1", {"y": cell}).number("y")
    assert Row("a.csv, line 2", {"y": " 2.5\u00a0"}).number("y") == 2.5
