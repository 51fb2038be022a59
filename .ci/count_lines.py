"""Count the lines of mosdeploy/, and fail above the number in pyproject.toml, which only falls."""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Print the count, and exit with 1 if it is too high."""
    house = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mosdeploy"]["house"]
    paths = sorted((ROOT / "mosdeploy").rglob("*.py"))
    count = sum(len(path.read_text().splitlines()) for path in paths)
    print(f"mosdeploy/: {count:,} lines of at most {house['max_lines']:,}, {len(paths)} files")
    if count > house["max_lines"]:
        sys.exit("a feature pays for its lines by what it removes: remove some")


if __name__ == "__main__":
    main()
