"""Files of a parallel corpus: two whose lines translate one another, or one of pairs."""

from pathlib import Path

from ...data.text_files import read_text_lines
from ...errors import ConfigError

Pair = tuple[str, str]

HEADERS = ({"source", "target"}, {"src", "tgt"}, {"src", "trg"})
"""What a line of names says where it does not say the languages."""

QUOTED_SHARE = 0.9
"""More cells in double quotes are a way to write the file, and no texts."""

LEAST_PAIRS = 10
"""Of fewer pairs, all may be quotations."""


def read_aligned(source_path: Path, target_path: Path) -> list[Pair]:
    """Lines of two files, of which line n of one translates line n of the other."""
    sources = list(read_text_lines(source_path))
    targets = list(read_text_lines(target_path))
    if len(sources) != len(targets):
        longer = (source_path, sources) if len(sources) > len(targets) else (target_path, targets)
        is_blank = not longer[1][-1].strip()
        raise ConfigError(
            f"unequal line counts: {source_path} has {len(sources)} lines, {target_path} has "
            f"{len(targets)}; line n of one must translate line n of the other"
            + (f"; the last line of {longer[0]} is blank: remove it" if is_blank else "")
        )
    return list(zip(sources, targets, strict=True))


def text_path(prefix: Path, lang: str) -> Path:
    """The file of one language, plain or packed."""
    plain = Path(f"{prefix}.{lang}")
    packed = Path(f"{prefix}.{lang}.gz")
    for path in (plain, packed):
        if path.is_file():
            return path
    raise ConfigError(
        f"{plain}: no such file (nor {packed.name}); the corpus entry is a prefix, without the "
        "language"
    )


def read_table(path: Path, languages: tuple[str, str]) -> list[Pair]:
    """Lines of source TAB target; nothing is quoted, and there is no header."""
    pairs: list[Pair] = []
    for number, line in enumerate(read_text_lines(path), start=1):
        cells = line.split("\t") if line.strip() else ["", ""]
        if len(cells) != 2:
            raise ConfigError(
                f"{path}, line {number}: {len(cells)} columns; a line is source TAB target"
            )
        pairs.append((cells[0], cells[1]))
    if pairs and _is_header(pairs[0], languages):
        raise ConfigError(
            f"{path}, line 1: '{pairs[0][0]}' and '{pairs[0][1]}' name the columns, and would be "
            "learned as a translation; remove this line"
        )
    cells = [cell for pair in pairs for cell in map(str.strip, pair) if cell]
    num_quoted = sum(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells)
    if len(pairs) >= LEAST_PAIRS and num_quoted > QUOTED_SHARE * len(cells):
        raise ConfigError(
            f"{path}: {num_quoted:,} of {len(cells):,} cells stand in double quotes, which would "
            "be learned with the texts; save it without quoting, for example with: python -c "
            "\"import csv, sys; [print(*x, sep='\\t') for x in csv.reader(sys.stdin, "
            f"delimiter='\\t')]\" < {path.name} > unquoted.tsv"
        )
    return pairs


def _is_header(pair: Pair, languages: tuple[str, str]) -> bool:
    names = {cell.strip().strip('"').casefold() for cell in pair}
    return names in ({x.casefold() for x in languages}, *HEADERS)
