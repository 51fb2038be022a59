"""What notebooks show: charts, and how far a verb is."""

import importlib
import sys
import time
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ConfigError
from ..printable import printable
from ..records import SearchResult
from ..run_folder.context import Progress, SilentProgress
from ..run_folder.summaries import Comparison

if TYPE_CHECKING:
    from altair import LayerChart


def front_chart(
    search: SearchResult, axis: Literal["latency", "parameters", "size", "memory"] = "latency"
) -> "LayerChart":
    """Draw validation loss against a cost: the front, the finalists and the winner of a search.

    Parameters
    ----------
    search
        What `RunFolder.search` returned.
    axis
        The latency in milliseconds, as predicted on the front and as measured elsewhere; millions
        of parameters; size of the bundle or memory of a run in MiB.

    Returns
    -------
    altair.LayerChart
        A notebook shows it; `save("front.html", inline=True)` writes it.

    Raises
    ------
    ConfigError
        If there is no such axis, or the search does not know the cost.

    Examples
    --------
    >>> import mosdeploy
    >>> run = mosdeploy.open_run("my-run")  # doctest: +SKIP
    >>> mosdeploy.front_chart(run.search(max_latency="150ms"))  # doctest: +SKIP
    """
    from ..report import charts
    from ..report.selection import axes_of
    from ..run_folder.candidates import choices

    listed = choices(search)
    axes = {x.name.partition(":")[0]: x for x in axes_of(listed, search)}
    if axis not in axes:
        raise ConfigError(f"this search has no axis '{axis}'; it has {', '.join(axes)}")
    return charts.front_chart(listed, axes[axis])


def compare_chart(comparison: Comparison) -> "LayerChart":
    """Draw the first metric against the latency: a labelled point for each bundle, at its median,
    and a bar from the lowest time to the 90th percentile.

    Parameters
    ----------
    comparison
        What `RunFolder.compare` returned.

    Returns
    -------
    altair.LayerChart
        A notebook shows it; `save("bundles.html", inline=True)` writes it.

    Examples
    --------
    >>> import mosdeploy
    >>> run = mosdeploy.open_run("my-run")  # doctest: +SKIP
    >>> mosdeploy.compare_chart(run.compare(["bundles/a", "bundles/b"]))  # doctest: +SKIP
    """
    import altair as alt

    from ..report.cells import device_name

    metric = next(iter(comparison.bundles[0].metrics))
    rows = [
        {
            "bundle": bundle.name,
            "value": bundle.metrics[metric],
            "minimum": timing.minimum_ms,
            "median": timing.median_ms,
            "p90": timing.p90_ms,
        }
        for bundle in comparison.bundles
        if (timing := bundle.measurement.total) is not None
    ]
    title = f"latency on {device_name(comparison.device)}, ms: minimum, median, p90"
    # neither axis begins at zero: what is alike would lie in one place; names need room
    scale = alt.Scale(zero=False, padding=90)
    score_scale = alt.Scale(zero=False, padding=20)
    marks = alt.Chart(alt.NamedData(name="bundles")).encode(
        x=alt.X("median:Q", title=title, scale=scale),
        y=alt.Y("value:Q", title=f"{metric}, {comparison.scored_on}", scale=score_scale),
    )
    bars = marks.mark_rule().encode(x=alt.X("minimum:Q", title=title, scale=scale), x2="p90:Q")
    points = marks.mark_point(filled=True, size=70, opacity=1).encode(
        tooltip=["bundle:N", "minimum:Q", "median:Q", "p90:Q", alt.Tooltip("value:Q", title=metric)]
    )
    names = marks.mark_text(dy=-10).encode(text="bundle:N")
    return alt.LayerChart(
        layer=[bars, points, names], datasets={"bundles": rows}, width=480, height=320
    )


REDRAW_S = 0.25
"""Between two pictures of a stage that goes on."""


class NotebookProgress:
    """One output below the cell that runs now: a line for each message, and one for each stage,
    which is redrawn as it gets on.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._cell: int | None = None
        self._output: Any = None
        self._lines: list[str] = []
        self._places: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._drawn_at = 0.0

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Show that `done` of `total` steps of a stage are over."""
        self._follow()
        line = f"{stage}: {done:,} of {total:,} {note}".rstrip()
        if stage in self._places and done >= self._done[stage]:
            self._lines[self._places[stage]] = line
        else:
            self._places[stage] = len(self._lines)
            self._lines.append(line)
        self._done[stage] = done
        if done >= total or time.monotonic() - self._drawn_at > REDRAW_S:
            self._draw()

    def say(self, message: str) -> None:
        """Show one line about what happens now."""
        self._follow()
        self._lines.append(message)
        self._draw()

    def _follow(self) -> None:
        """Begin anew below each cell."""
        if self._cell != self._shell.execution_count:
            self._cell = self._shell.execution_count
            self._output = None
            self._lines = []
            self._places = {}

    def _draw(self) -> None:
        display: Any = importlib.import_module("IPython.display").display
        self._drawn_at = time.monotonic()
        text = {"text/plain": printable("\n".join(self._lines))}
        if self._output is None:
            self._output = display(text, raw=True, display_id=True)
        else:
            self._output.update(text, raw=True)


def default_progress() -> Progress:
    """Lines below the cell if a notebook's kernel runs this process, else silence."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return NotebookProgress(shell) if hasattr(shell, "kernel") else SilentProgress()
