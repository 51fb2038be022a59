"""Figures of the page's sections about the search: headline, quality against latency, predictor.

In: the `Report`. Out: text, `Facts`, `Table` and charts, which `templates/page.html.j2` puts
between its words.
"""

from markupsafe import Markup

from ..records import BoardCalibration, Candidate, PredictorCard, ScoreTable, SearchResult
from ..spaces import ArchConfig
from .cells import (
    EMULATED,
    Cell,
    Facts,
    Table,
    code,
    limit_verdict,
    mebibytes,
    milliseconds,
    score,
)
from .charts import Axes, Mark, Series, agreement_chart, front_chart
from .summary import Agreement, Headline, Report

BAND_PERCENT = 5.0
"""Half the width of the band around the diagonal of predicted against measured."""


def headline_title(line: Headline, task: str) -> str:
    """Say the outcome in a line; `task` is what one run of the model does, as a verb phrase."""
    if line.emulated:
        return f"The winner for {line.device}, an emulated device: its times are no latencies."
    if line.measured_ms is None:
        return f"The winner for {line.device}, by prediction: nothing was measured."
    what = "deployed bundle" if line.measured == "bundle" else "winner"
    title = f"On {line.device}, the {what} {task} in {milliseconds(line.measured_ms)}"
    if line.limit_kept is None:
        return f"{title}."
    verb = "within" if line.limit_kept else "which breaks"
    return f"{title}, {verb} the limit of {line.limit_ms:g}\N{NO-BREAK SPACE}ms."


def headline_tiles(line: Headline, metric_title: str) -> Facts:
    """Give each figure of the headline with a note; one tile for all metrics that are not there
    yet.
    """
    source = {
        "bundle": "the bundle, deployed",
        "candidate": "during the search",
        "nothing": "run mosdeploy search",
    }
    note = f"test set, {line.scored}".removesuffix(", ")
    metrics = {name: _tile(score(value), note) for name, value in line.metrics.items()}
    predicted = None
    if line.predicted_ms is not None:
        note = EMULATED if line.emulated else "before measuring"
        predicted = _tile(milliseconds(line.predicted_ms), note)
    measured = "not yet" if line.measured_ms is None else milliseconds(line.measured_ms)
    limit = None if line.limit_ms is None else limit_verdict(line.limit_ms, line.limit_kept)
    return (
        *(metrics or {metric_title: _tile("not yet", "run mosdeploy evaluate")}).items(),
        ("Predicted", predicted),
        ("Measured", _tile(measured, EMULATED if line.emulated else source[line.measured])),
        ("Limit", limit),
        ("Parameters", _tile(f"{line.num_parameters / 1e6:.2f} M", f"{line.num_parameters:,}")),
        ("Size", _tile(mebibytes(line.size_bytes), "on disk")),
    )


def _tile(value: str, note: str) -> Markup:
    return Markup("{}<small>{}</small>").format(value, note)


def search_chart(report: Report) -> Markup:
    """Draw the front, the finalists and the winner: loss against latency, or against size where the
    search had no latency predictor.
    """
    search = report.search
    if any(x.predicted_ms is None for x in (*search.front, *search.finalists, search.winner)):
        return _size_chart(search)
    winner = search.winner
    winner_ms = winner.measured_ms or winner.predicted_ms or 0.0
    others = [x for x in search.finalists if x.arch != winner.arch]
    series = [
        Series(
            "Front, predicted",
            "front",
            "circle",
            tuple(_mark(x, x.predicted_ms or 0.0) for x in search.front),
            joined=True,
        ),
        Series(
            "Finalists, measured",
            "measured",
            "diamond",
            tuple(_mark(x, x.measured_ms) for x in others if x.measured_ms),
        ),
        Series(
            "Winner, measured" if winner.measured_ms else "Winner, predicted",
            "winner",
            "star",
            (_mark(winner, winner_ms),),
        ),
    ]
    note = f", {EMULATED}" if report.headline.emulated else ""
    axes = Axes(
        title="Validation loss against latency",
        description=_describe(search),
        x_name=f"latency, ms{note}",
        y_name="validation loss",
    )
    limit_ms = report.headline.limit_ms
    limit = None if limit_ms is None else (limit_ms, f"limit {limit_ms:g} ms")
    return front_chart(axes, series, limit)


def _size_chart(search: SearchResult) -> Markup:
    front = tuple(_mark(x, x.num_parameters / 1e6) for x in search.front)
    winner = _mark(search.winner, search.winner.num_parameters / 1e6)
    axes = Axes(
        title="Validation loss against size",
        description=_describe(search),
        x_name="parameters, millions",
        y_name="validation loss",
    )
    series = [
        Series("Front", "front", "circle", front, joined=True),
        Series("Winner", "winner", "star", (winner,)),
    ]
    return front_chart(axes, series)


def _mark(candidate: Candidate, x: float) -> Mark:
    arch = candidate.arch
    return Mark(
        x, candidate.loss, f"{arch.key}: loss {candidate.loss:.4f} at {x:.2f}; {candidate.arch}"
    )


def _describe(search: SearchResult) -> str:
    return (
        f"{len(search.front)} architectures on the front, {len(search.finalists)} finalists; "
        f"the winner has validation loss {search.winner.loss:.4f}. "
        "The table below has every figure."
    )


def candidates_table(search: SearchResult) -> Table:
    """List the front, the finalists and the winner, each once, by loss."""
    listed = {x.arch.key: ("front", x) for x in search.front}
    listed |= {x.arch.key: ("finalist", x) for x in search.finalists}
    listed[search.winner.arch.key] = ("winner", search.winner)
    rows: list[tuple[Cell, ...]] = [
        (
            code(key),
            role,
            f"{x.loss:.4f}",
            milliseconds(x.predicted_ms),
            milliseconds(x.measured_ms),
            f"{x.num_parameters:,}",
            str(x.arch),
        )
        for key, (role, x) in sorted(listed.items(), key=lambda item: item[1][1].loss)
    ]
    return Table(
        ("subnet", "role", "loss", "predicted", "measured", "parameters", "architecture"),
        tuple(rows),
    )


def scores_table(scores: ScoreTable | None, winner: ArchConfig) -> Table | None:
    """List the scores of each subnet, one column a metric; None where nothing was evaluated."""
    if scores is None or not scores.subnets:
        return None
    metrics = list(dict.fromkeys(name for x in scores.subnets.values() for name in x.metrics))
    rows: list[tuple[Cell, ...]] = [
        (
            # the name says "winner", but a later search has another one
            f"earlier {name}" if name.startswith("winner") and x.arch != winner else name,
            *(score(x.metrics.get(metric)) for metric in metrics),
            f"{x.loss:.3f}",
            f"{x.num_parameters:,}",
            x.num_examples,
            x.setup or "-",
        )
        for name, x in scores.subnets.items()
    ]
    return Table(
        ("subnet", *metrics, "loss", "parameters", "examples", "setup"),
        tuple(rows),
        "Subnets on the test examples; weights are inherited unless the name says otherwise",
    )


def agreement_summary(points: tuple[Agreement, ...]) -> str:
    """Say how many predictions lie within the band."""
    num_near = sum(
        abs(x.predicted_ms - x.measured_ms) <= BAND_PERCENT / 100 * x.measured_ms for x in points
    )
    return (
        f"{num_near} of {len(points)} subnets were predicted within {BAND_PERCENT:g}% of what was "
        "measured."
    )


def agreement_figure(points: tuple[Agreement, ...], *, emulated: bool) -> Markup:
    """Draw measured against predicted latency, with a band of 5% around the diagonal."""
    note = f", {EMULATED}" if emulated else ""
    axes = Axes(
        title="Predicted against measured latency",
        description=agreement_summary(points),
        x_name=f"predicted, ms{note}",
        y_name=f"measured, ms{note}",
    )
    known = tuple(_agreement_mark(x) for x in points if x.fitted)
    new = tuple(_agreement_mark(x) for x in points if not x.fitted)
    series = [
        Series("Profiled, the predictor was fitted on these", "fitted", "circle", known),
        Series("Finalists, new to the predictor", "measured", "diamond", new),
    ]
    return agreement_chart(axes, series, BAND_PERCENT)


def _agreement_mark(x: Agreement) -> Mark:
    label = f"{x.key}: predicted {x.predicted_ms:.2f}, measured {x.measured_ms:.2f}"
    return Mark(x.predicted_ms, x.measured_ms, label)


def agreement_table(points: tuple[Agreement, ...]) -> Table:
    """List the points of the chart with their relative errors."""
    rows = tuple(
        (
            code(x.key),
            "no" if x.fitted else "yes",
            f"{x.predicted_ms:.2f}",
            f"{x.measured_ms:.2f}",
            f"{(x.predicted_ms / x.measured_ms - 1) * 100:+.1f}%",
        )
        for x in points
    )
    return Table(("subnet", "new to the predictor", "predicted, ms", "measured, ms", "error"), rows)


def predictor_facts(card: PredictorCard) -> Facts:
    """Give the predictor's errors in cross-validation and what it was fitted on."""
    return (
        ("Mean relative error", f"{card.mape_percent:.2f}%"),
        ("Within 5%", f"{card.within_5_percent:.0f}%"),
        ("Within 10%", f"{card.within_10_percent:.0f}%"),
        ("Kendall tau", f"{card.kendall_tau:.3f}"),
        ("Subnets", card.num_samples),
        ("Rejected", card.num_rejected),
        ("Boards, time ratio", ", ".join(_time_ratio(x) for x in card.boards) or None),
        ("Model", "regression and MLP" if card.uses_mlp else "regression"),
        ("Source", card.source or None),
        ("Licence", card.licence or None),
    )


def _time_ratio(board: BoardCalibration) -> str:
    return f"{board.host} {'unknown' if board.time_ratio is None else f'{board.time_ratio:.3f}'}"
