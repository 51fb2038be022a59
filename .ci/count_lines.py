"""Count the lines of mosdeploy/ and the keys of the run file, and fail above the numbers in
pyproject.toml, which only fall.
"""

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


def keys(section: type[BaseModel], above: str = "") -> Iterator[str]:
    """Yield the keys of a section and of those below it."""
    for name, field in section.model_fields.items():
        kinds = (field.annotation, *get_args(field.annotation))
        below = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        for kind in below:
            yield from keys(kind, f"{above}{name}.")
        if not below:
            yield above + name


def main() -> None:
    """Print the counts, and exit with 1 if one is too high."""
    from mosdeploy.config import RUN_CONFIGS

    house = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mosdeploy"]["house"]
    paths = sorted((ROOT / "mosdeploy").rglob("*.py"))
    count = sum(len(path.read_text().splitlines()) for path in paths)
    num_keys = len({key for config in RUN_CONFIGS.values() for key in keys(config)})
    print(f"mosdeploy/: {count:,} lines of at most {house['max_lines']:,}, {len(paths)} files")
    print(f"mosdeploy.toml: {num_keys} keys of at most {house['max_keys']}")
    if count > house["max_lines"]:
        sys.exit("a feature pays for its lines by what it removes: remove some")
    if num_keys > house["max_keys"]:
        sys.exit("a new key takes the place of another: derive one, or make it a constant")


if __name__ == "__main__":
    main()
