"""What people see: tables, lines and bars."""

import io
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..printable import kept, memory_kept, milliseconds, printable

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


BLOCKS = "▁▂▃▄▅▆▇█"
CURVE_WIDTH = 16


def sparkline(values: Sequence[float], width: int = CURVE_WIDTH) -> str:
    """The last values as blocks, the highest of them as the highest block.

    Examples
    --------
    >>> sparkline([4.0, 3.0, 2.5, 2.0])
    '█▄▂▁'
    """
    shown = values[-width:]
    if not shown:
        return ""
    low = min(shown)
    span = (max(shown) - low) or 1.0
    return "".join(BLOCKS[int((x - low) / span * (len(BLOCKS) - 1))] for x in shown)


def tell(message: str) -> None:
    """Print one line on stderr."""
    print(printable(message), file=sys.stderr, flush=True)


class TerminalProgress:
    """Bars with ETA, and with a curve where there is one, on a terminal, plain lines every few
    seconds in a pipe; all on stderr.
    """

    def __init__(self) -> None:
        self.is_quiet = False
        self._tty = sys.stderr.isatty()
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._curves: dict[str, str] = {}
        self._last_line = 0.0

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Show that `done` of `total` steps of a stage are over."""
        if self.is_quiet:
            return
        if self._tty:
            self._update_bar(stage, done, total, note)
        elif done >= total or time.monotonic() - self._last_line > 5:
            self._last_line = time.monotonic()
            tell(f"{stage}: {done}/{total} {note}".rstrip())

    def curve(self, stage: str, values: Sequence[float]) -> None:
        """Show values beside a stage's bar, from its next update on."""
        self._curves[stage] = sparkline(values)

    def say(self, message: str) -> None:
        """Print one line about what happens now."""
        if self.is_quiet:
            return
        self.close()
        tell(message)

    def close(self) -> None:
        """Leave the bars as they stand."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            self._tasks = {}

    def _update_bar(self, stage: str, done: int, total: int, note: str) -> None:
        from rich import progress as bars
        from rich.console import Console

        if self._bars is None:
            self._bars = bars.Progress(
                bars.TextColumn("{task.description}", markup=False),
                bars.BarColumn(bar_width=20),
                bars.MofNCompleteColumn(),
                bars.TimeRemainingColumn(),
                bars.TextColumn("{task.fields[note]} {task.fields[curve]}", markup=False),
                console=Console(stderr=True),
            )
            self._bars.start()
        fields = {"note": printable(note), "curve": self._curves.get(stage, "")}
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total, **fields)
        self._bars.update(self._tasks[stage], completed=done, total=total, **fields)


PROGRESS = TerminalProgress()
