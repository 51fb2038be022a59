"""Tables and lines for people."""

import io
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..printable import kept, memory_kept, milliseconds

if TYPE_CHECKING:
    from ..config.units import Statistic
    from ..records import Measurement, PredictorCard

MIN_FOLDED = 16
"""How wide a folded column is at least."""


def card_line(card: "PredictorCard") -> str:
    """Spell a predictor's errors on held-out subnets."""
    return (
        f"{card.num_samples} subnets, error {card.mape_percent:.2f}%, "
        f"{card.within_5_percent:.0f}% within 5%, Kendall tau {card.kendall_tau:.3f}"
    )


def rescaled_lines(card: "PredictorCard") -> list[str]:
    """Name each older session whose times were rescaled to its board's newest one."""
    return [
        f"{x.num_subnets} subnets of {x.started_at}: divided by {x.time_ratio:.3f}, which the "
        f"reference took then of its time in the newest session of {x.host}"
        for x in card.rescaled_sessions
    ]


def timing(measurement: "Measurement", statistic: "Statistic") -> str:
    """Spell the median, the p90 and the figure that a limit is about."""
    total = measurement.total
    if total is None:
        return "not timed"
    text = f"{milliseconds(total.median_ms)} median, {milliseconds(total.p90_ms)} p90"
    figure_ms = measurement.figure_ms(statistic)
    if statistic in ("median", "p90") or figure_ms is None:
        return text
    return f"{text}, {milliseconds(figure_ms)} {statistic}"


def kept_limits(
    measurement: "Measurement",
    statistic: "Statistic",
    limit_ms: float | None,
    max_memory_bytes: int | None,
) -> str:
    """Say whether a model keeps its limits, as the end of a line."""
    latency = kept(measurement.figure_ms(statistic), limit_ms, statistic)
    return latency + memory_kept(measurement.memory_bytes, max_memory_bytes)


def terminal_width() -> int | None:
    """Return the columns of the terminal; None for a pipe, and where stdout is closed."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return shutil.get_terminal_size().columns if is_terminal else None


def table(header: Sequence[str], rows: Iterable[Sequence[object]], width: int | None = None) -> str:
    """Draw rows under a header; the last column is folded at `width`, the others never cut."""
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[str(cell) for cell in row] for row in rows]
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in header:
        drawn.add_column(name, no_wrap=True)
    for row in cells:
        drawn.add_row(*(Text(cell) for cell in row))  # not read as markup
    if width is not None:
        drawn.columns[-1].no_wrap = False
        drawn.columns[-1].overflow = "fold"
        others = zip(*(row[:-1] for row in [list(header), *cells]), strict=True)
        taken = sum(
            3 + max(map(cell_len, column)) for column in others
        )  # with the space after each
        width = max(width, taken + MIN_FOLDED)
    # in a pipe as wide as it takes: a narrower one would cut architectures and paths
    # drawn with the letters that stdout has
    nowhere = io.TextIOWrapper(io.BytesIO(), encoding=getattr(sys.stdout, "encoding", None))
    console = Console(file=nowhere, width=width or 10_000, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in captured.get().splitlines() if line.strip())
