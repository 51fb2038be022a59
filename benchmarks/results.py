"""Tables that scripts measured: printed, and kept in NAME.json beside the script NAME.py.

    python benchmarks/results.py by_hand        # print what is kept

A file holds a table for each label, with the command, the seeds, the versions and the processor.
A page shows the same rows; tests/test_benchmarks.py compares them.
"""

import argparse
import importlib.metadata
import json
import platform
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev

import mosdeploy
from mosdeploy.record import Record, parse
from mosdeploy.storage import atomic_write


class Table(Record):
    """One table and how it was made. Cells are as printed."""

    label: str
    command: str
    seeds: tuple[int, ...]
    versions: dict[str, str]
    processor: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def markdown(self) -> str:
        """The table as a page shows it."""
        return markdown(self.header, self.rows)


def add_result_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of what is kept."""
    parser.add_argument("--json", action="store_true", help="keep the table beside this script")
    parser.add_argument("--label", default="", help="tells it from the script's other tables")


def finish(
    options: argparse.Namespace,
    packages: Iterable[str],
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    seeds: Iterable[int] = (),
    label: str = "",
) -> None:
    """Print a table, and keep it if --json was given."""
    table = Table(
        label=", ".join(filter(None, (label, options.label))),
        command=shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        seeds=tuple(seeds),
        versions=versions(packages),
        processor=processor(),
        header=tuple(header),
        rows=tuple(tuple(row) for row in rows),
    )
    print(table.markdown)
    if options.json:
        path = Path(__file__).with_name(f"{Path(sys.argv[0]).stem}.json")
        write_tables(path, [*(x for x in read_tables(path) if x.label != table.label), table])


def read_tables(path: Path) -> list[Table]:
    """Read the tables of a file, none where there is no file."""
    if not path.exists():
        return []
    return [parse(Table, table, str(path)) for table in json.loads(path.read_text("utf-8"))]


def write_tables(path: Path, tables: Iterable[Table]) -> None:
    """Write JSON with each row on one line."""
    texts = []
    for table in tables:
        head = table.model_dump(mode="json", exclude={"rows"})
        lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
        rows = ",\n    ".join(json.dumps(row, ensure_ascii=False) for row in table.rows)
        texts.append("{\n  " + ",\n  ".join([*lines, f'"rows": [\n    {rows}\n  ]']) + "\n }")
    atomic_write(path, "[\n " + ",\n ".join(texts) + "\n]\n")


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def spread(values: Sequence[float], digits: int, sign: str = "") -> str:
    """Return the mean, with the standard deviation where there are several values."""
    text = f"{mean(values):{sign}.{digits}f}"
    return f"{text} ± {stdev(values):.{digits}f}" if len(values) > 1 else text


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python, mosdeploy and packages; a dash for one that is missing."""
    found = {"python": platform.python_version(), "mosdeploy": mosdeploy.__version__}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "-"
    return found


def processor() -> str:
    """Return the processor's name and how many cores there are."""
    path = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", path.read_text() if path.exists() else "", re.M)
    return f"{names[0]}, {len(names)} cores" if names else "unknown"


def main() -> None:
    """Print kept tables."""
    for name in sys.argv[1:]:
        for table in read_tables(Path(__file__).with_name(f"{name}.json")):
            print(
                f"{table.label or name}: {table.processor}\n{table.command}\n\n{table.markdown}\n"
            )


if __name__ == "__main__":
    main()
