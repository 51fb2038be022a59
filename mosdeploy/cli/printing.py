"""What verbs have in common when they print for people."""

import io
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..printable import milliseconds

if TYPE_CHECKING:
    from rich.table import Column

    from ..config.units import Statistic
    from ..records import Measurement, PredictorCard

MIN_FOLDED = 16
"""How wide a folded column is at least."""


def card_line(card: "PredictorCard") -> str:
    """A predictor's errors on held-out subnets, on one line."""
    return (
        f"{card.num_samples} subnets, error {card.mape_percent:.2f}%, "
        f"{card.within_5_percent:.0f}% within 5%, Kendall tau {card.kendall_tau:.3f}"
    )


def rescaled_lines(card: "PredictorCard") -> list[str]:
    """Each older session whose times were brought to the level of its board's newest one."""
    return [
        f"{x.num_subnets} subnets of {x.started_at}: divided by {x.time_ratio:.3f}, which the "
        f"reference took then of its time in the newest session of {x.host}"
        for x in card.rescaled_sessions
    ]


def timing(measurement: "Measurement", statistic: "Statistic") -> str:
    """What a model took: its median and p90, and the figure that its limit is about."""
    total = measurement.total
    if total is None:
        return "not timed"
    text = f"{milliseconds(total.median_ms)} median, {milliseconds(total.p90_ms)} p90"
    figure_ms = measurement.figure_ms(statistic)
    if statistic in ("median", "p90") or figure_ms is None:
        return text
    return f"{text}, {milliseconds(figure_ms)} {statistic}"


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None for a pipe, whose lines may be of any length,
    and where stdout is closed.
    """
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return shutil.get_terminal_size().columns if is_terminal else None


def table(header: Sequence[str], rows: Iterable[Sequence[object]], width: int | None = None) -> str:
    """Rows under a header, in columns as wide as their widest cell.

    rich.table pads and wraps for the width of a terminal; in a pipe that would cut architectures
    and paths, so the table is drawn with as much width as it takes.

    Parameters
    ----------
    width
        Where the last column is folded; the others are never cut.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in header:
        drawn.add_column(name, no_wrap=True)
    for row in rows:
        drawn.add_row(*(_escaped(cell) for cell in row))
    if width is not None:
        drawn.columns[-1].no_wrap = False
        drawn.columns[-1].overflow = "fold"
        width = max(width, _width(drawn.columns[:-1]) + MIN_FOLDED)
    # drawn with the letters that stdout has; what is wrong with it is told when it is written to
    nowhere = io.TextIOWrapper(io.BytesIO(), encoding=getattr(sys.stdout, "encoding", None))
    console = Console(file=nowhere, width=width or 10_000, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in captured.get().splitlines() if line.strip())


def _width(columns: "Sequence[Column]") -> int:
    """What columns take with the space after each."""
    from rich.cells import cell_len
    from rich.text import Text

    cells = ([str(column.header), *map(str, column.cells)] for column in columns)
    return sum(3 + max(cell_len(Text.from_markup(x).plain) for x in column) for column in cells)


def _escaped(cell: object) -> str:
    from rich.markup import escape

    return escape(str(cell))
