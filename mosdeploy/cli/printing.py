"""What verbs have in common when they print for people."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..records import PredictorCard

EMULATED = "emulated: not a latency"


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


def kept(measured_ms: float | None, limit_ms: float | None) -> str:
    """Whether a limit is kept, as the end of a line; empty where there is nothing to compare."""
    if measured_ms is None or limit_ms is None:
        return ""
    return f", limit {limit_ms:g} ms {'kept' if measured_ms <= limit_ms else 'NOT kept'}"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under a header, in columns as wide as their widest cell.

    rich.table pads and wraps for the width of a terminal; in a pipe that would cut architectures
    and paths, so the table is drawn with as much width as it takes.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in header:
        drawn.add_column(name, no_wrap=True)
    for row in rows:
        drawn.add_row(*(_escaped(cell) for cell in row))
    console = Console(width=10_000, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in captured.get().splitlines() if line.strip())


def _escaped(cell: object) -> str:
    from rich.markup import escape

    return escape(str(cell))
