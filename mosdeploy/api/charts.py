"""The chart of a search, for notebooks."""

from typing import TYPE_CHECKING, Literal

from ..errors import ConfigError
from ..records import SearchResult

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
    from ..pipeline.choices import choices
    from ..report import charts
    from ..report.choices import axes_of

    listed = choices(search)
    axes = {x.name.partition(":")[0]: x for x in axes_of(listed, search)}
    if axis not in axes:
        raise ConfigError(f"this search has no axis '{axis}'; it has {', '.join(axes)}")
    return charts.front_chart(listed, axes[axis])
