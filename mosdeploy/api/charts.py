"""Charts for notebooks: of a search, and of bundles side by side."""

from typing import TYPE_CHECKING, Literal

from ..errors import ConfigError
from ..records import SearchResult
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
    from ..pipeline.candidates import choices
    from ..report import charts
    from ..report.selection import axes_of

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
