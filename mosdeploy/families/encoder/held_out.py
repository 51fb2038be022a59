"""Which files hold the held-out examples of a task that is planned."""

from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ...family import DataRequest
from ...family.plan import HELD_OUT
from .columns import TaskColumns
from .tables import read_rows
from .targets import cell_number, cell_text


def held_out_files(
    request: DataRequest, train: str, columns: TaskColumns
) -> tuple[dict[str, str], list[str]]:
    """Files by split: those that are named, else those beside the training file whose name differs
    in the word `train`, if they have its columns and labels; and words on those that have not, as
    the test files of a contest.
    """
    path = Path(train)
    found: dict[str, str] = {}
    unread: list[str] = []
    for split, names in HELD_OUT.items():
        named: str | None = getattr(request, split)
        if named:
            found[split] = named
        elif "train" in path.name:
            beside = (str(path.with_name(path.name.replace("train", name))) for name in names)
            for near in (x for x in beside if (request.root / x).is_file()):
                if lack := _lack(near, request.root, columns):
                    unread.append(f"{near} {lack}")
                else:
                    found.setdefault(split, near)
    return found, unread


def _lack(source: str, root: Path, columns: TaskColumns) -> str:
    """What the first row of a table lacks to be an example of the task; empty if nothing."""
    row = next(iter(read_rows(source, root)), None) if columns.columns else None
    if row is None:
        return ""
    for name in columns.columns.values():
        if name not in row.cells:
            return f"has no column '{name}'"
    if columns.kind == "tagging":
        words, tags = (row.cells[columns.columns[key]] for key in ("tokens", "tags"))
        return "begins with words without tags" if words and not tags else ""
    cell = row.cells[columns.columns["label"]]
    label = cell_text(cell).strip()
    is_label = label in columns.labels if columns.labels else _is_number(cell)
    return "" if is_label else f"begins with the label '{label}'"


def _is_number(cell: Any) -> bool:
    try:
        cell_number(cell, "", "")
    except ConfigError:
        return False
    return True
