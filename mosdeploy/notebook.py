"""Records as HTML tables, which notebooks show."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

MAX_ROWS = 20
"""Of a longer list the first so many are shown, and how many more there are."""

MAX_INNER_ROWS = 11
"""A record inside another that has more rows is folded."""

MAX_TEXT = 160
DIGEST = 64
"""Length of a SHA-256, of which the first twelve digits tell enough."""


class HtmlTable:
    """Gives a record or a dataclass what notebooks show instead of its `repr`."""

    def _repr_html_(self) -> str:
        return _facts(_fields(self))


def _fields(value: Any) -> dict[str, Any]:
    """Fields by name, without those that are empty or tell nothing to people: fingerprints, and
    the version of a record's format.
    """
    if isinstance(value, BaseModel):
        names: Iterable[str] = [
            name
            for name, field in type(value).model_fields.items()
            if get_origin(field.annotation) is not Literal or len(get_args(field.annotation)) > 1
        ]
    else:
        names = [field.name for field in dataclasses.fields(value)]
    fields = {name: getattr(value, name) for name in names}
    return {name: x for name, x in fields.items() if not _is_empty(x) and not _is_digest(x)}


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | tuple | Mapping) and len(value) == 0)


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == DIGEST and value.isalnum()


def _facts(fields: Mapping[str, Any]) -> str:
    rows = (f"<tr><th>{escape(name)}</th><td>{_cell(x)}</td></tr>" for name, x in fields.items())
    return f"<table>{''.join(rows)}</table>"


def _folded(fields: Mapping[str, Any]) -> str:
    """A table; of a long one the first row, and all of it on a click."""
    table = _facts(fields)
    if len(fields) <= MAX_INNER_ROWS:
        return table
    name, value = next(iter(fields.items()))
    head = f"{escape(name)}: {_cell(value)}, and {len(fields) - 1} more"
    return f"<details><summary>{head}</summary>{table}</details>"


def _rows(records: Sequence[Mapping[str, Any]]) -> str:
    """One row a record, one column a field that any of them has."""
    names = list(dict.fromkeys(name for record in records for name in record))
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = [
        "".join(f"<td>{_cell(record.get(name, ''))}</td>" for name in names)
        for record in records[:MAX_ROWS]
    ]
    if len(records) > MAX_ROWS:
        body.append(f'<td colspan="{len(names)}">and {len(records) - MAX_ROWS:,} more</td>')
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in body)}</table>"


def _cell(value: Any) -> str:
    if _is_record(value):
        return _folded(_fields(value))
    if isinstance(value, Mapping):
        if any(_is_record(x) for x in value.values()):
            return _rows([{"": name, **_fields(x)} for name, x in value.items()])
        return ", ".join(f"{escape(str(name))}: {_cell(x)}" for name, x in value.items())
    if isinstance(value, tuple | list):
        if any(_is_record(x) for x in value):
            return _rows([_fields(x) for x in value])
        return ", ".join(_cell(x) for x in value[:MAX_ROWS]) + (
            "…" if len(value) > MAX_ROWS else ""
        )
    return escape(_text(value))


def _is_record(value: Any) -> bool:
    """Whether a value is told by its fields; one that spells itself, as an architecture, is not."""
    if dataclasses.is_dataclass(value):
        return type(value).__str__ is object.__str__
    return isinstance(value, BaseModel) and type(value).__str__ is BaseModel.__str__


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    text = str(value)
    if _is_digest(text):
        return text[:12]
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
