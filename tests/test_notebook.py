"""What notebooks show of records."""

import dataclasses
from html.parser import HTMLParser
from typing import Any, Literal

from answers import ARCH, candidate, search_result
from synthetic import deployment, manifest

from mosdeploy.notebook import MAX_INNER_ROWS, MAX_ROWS, HtmlTable
from mosdeploy.record import Record


class Cells(HTMLParser):
    """The texts of a table's cells; fails on an element that is closed out of turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ("table", "tr", "th", "td", "details", "summary")
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def cells(record: HtmlTable) -> list[str]:
    return Cells(record._repr_html_()).texts


class Small(Record):
    name: str
    count: int = 1234
    share: float = 0.12345
    good: bool = True
    missing: str | None = None
    rows: tuple["Small", ...] = ()


def test_fields_are_rows_and_what_is_set_is_shown() -> None:
    shown = cells(Small(name="<b>&"))
    assert shown == ["name", "<b>&", "count", "1,234", "share", "0.1235", "good", "yes"]


class Versioned(Record):
    version: Literal[2] = 2
    kind: Literal["a", "b"] = "a"
    data_sha256: str = "e" * 64
    remark: str = ""


def test_what_is_for_programs_alone_is_left_out() -> None:
    assert cells(Versioned()) == ["kind", "a"]


@dataclasses.dataclass(frozen=True)
class Holder(HtmlTable):
    inner: Any


def test_a_long_record_in_another_is_folded() -> None:
    names = [f"field_{i}" for i in range(MAX_INNER_ROWS + 1)]
    for count in (MAX_INNER_ROWS, MAX_INNER_ROWS + 1):
        inner = dataclasses.make_dataclass("Inner", [(name, int) for name in names[:count]])
        holder = Holder(inner(*range(count)))
        is_folded = "<details><summary>field_0: 0, and 11 more</summary>" in holder._repr_html_()
        assert is_folded == (count > MAX_INNER_ROWS)
        assert set(names[:count]) <= set(cells(holder))  # all is there


def test_records_in_a_record_are_a_table_of_their_own() -> None:
    shown = cells(Small(name="x", rows=(Small(name="y"), Small(name="z", count=2))))
    assert shown[8:] == [
        "rows",
        *("name", "count", "share", "good"),
        *("y", "1,234", "0.1235", "yes"),
        *("z", "2", "0.1235", "yes"),
    ]


def test_of_a_long_list_the_rest_is_counted() -> None:
    shown = cells(Small(name="x", rows=tuple(Small(name=str(i)) for i in range(MAX_ROWS + 1500))))
    assert shown[-1] == "and 1,500 more"
    assert shown[-5] == str(MAX_ROWS - 1)


def test_a_search_shows_its_winner_and_its_front() -> None:
    members = tuple(candidate(predicted_ms=100.0 + i) for i in range(3))
    shown = cells(search_result(front=members))
    assert shown.count(str(ARCH)) == 1 + 1 + 3  # winner, finalist, front
    assert {"device", "rpi", "121.5", "max_latency_ms", "150", "1,234,567"} <= set(shown)
    assert [x for x in ("100", "101", "102") if x in shown] == ["100", "101", "102"]


def test_bundles_and_deployments_are_shown() -> None:
    shown = cells(deployment(11.4))
    assert {"median_ms", "11.4", "Cortex-A72"} <= set(shown)
    shown = cells(manifest(ARCH))
    assert {"winner-fp32", "Save file", "<b>Close & quit</b>"} <= set(shown)
    assert "e" * 12 in "".join(shown) and "e" * 13 not in "".join(shown)
