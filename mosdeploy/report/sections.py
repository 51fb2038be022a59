"""Figures of the page's sections about the search: headline, quality against latency, predictor."""

from collections.abc import Sequence

from ..config.units import Statistic
from ..printable import (
    EMULATED,
    beside_limit,
    figure_note,
    latency,
    loss_mark,
    quantity,
    score,
    three_digits,
    told_apart,
)
from ..records import BoardCalibration, PredictorCard, ScoreTable
from .cells import (
    NBSP,
    Cell,
    Facts,
    Table,
    byte_size,
    code,
    device_name,
    limit_verdict,
    milliseconds,
    noted,
    wide,
)
from .charts import BAND_PERCENT
from .choices import Choice
from .limits import LimitVerdict
from .summary import Agreement, Headline

LIMITED = {
    "max_parameters": "parameters",
    "max_body_parameters": "parameters of the encoder",
    "max_size_bytes": "size",
    "max_memory_bytes": "memory",
}
"""What a field of `Limits` is on, in words."""


def headline_title(line: Headline, task: str) -> str:
    """Say the outcome in a line; `task` is what one run of the model does, as a verb phrase."""
    device = device_name(line.device)
    if line.emulated:
        return f"The winner for {device}, an emulated device: its times are no latencies."
    if line.measured_ms is None:
        how = "" if line.predicted_ms is None else ", by prediction"
        return f"The winner for {device}{how}: nothing was measured."
    what = "deployed bundle" if line.measured == "bundle" else "winner"
    title = f"On {device}, the {what} {task} in {_timed(line)}"
    if line.limit_kept is None:
        return f"{title}."
    assert line.limit_ms is not None
    verb = "within" if line.limit_kept else "which breaks"
    exact, limit = (
        text.replace(" ", NBSP) for text in told_apart(latency, line.measured_ms, line.limit_ms)
    )
    if not line.limit_kept and milliseconds(line.measured_ms) == milliseconds(line.limit_ms):
        # with three digits it would be the limit itself
        title = title.replace(milliseconds(line.measured_ms), exact)
    return f"{title}, {verb} the limit of {limit}."


def headline_tiles(line: Headline, metric_title: str) -> Facts:
    """Give each figure of the headline with a note; one tile for all metrics that are not there
    yet.
    """
    source = {
        "bundle": "the bundle, deployed",
        "candidate": "during the search",
        "nothing": f"run mosdeploy {'deploy' if line.predicted_ms is None else 'search'}",
    }
    note = f"test set, {line.scored}".removesuffix(", ")
    metrics = {name: noted(score(value), note) for name, value in line.metrics.items()}
    predicted = None
    if line.predicted_ms is not None:
        note = EMULATED if line.emulated else "before measuring"
        figure = figure_note(line.statistic)
        predicted = noted(f"{milliseconds(line.predicted_ms)}{figure}", note)
    measured = "not yet" if line.measured_ms is None else _timed(line)
    on_disk = "on disk, all files" if line.measured == "bundle" else "estimated"
    limit = None
    if line.limit_ms is not None:
        text = f"{latency(line.limit_ms)}{figure_note(line.statistic)}"
        limit = limit_verdict(text, line.limit_kept)
    return (
        *(metrics or {metric_title: noted("not yet", line.unscored)}).items(),
        ("Predicted", predicted),
        ("Measured", noted(measured, EMULATED if line.emulated else source[line.measured])),
        ("Limit", limit),
        *(_limit_tile(x) for x in line.other_limits),
        ("Parameters", noted(f"{line.num_parameters / 1e6:.2f} M", f"{line.num_parameters:,}")),
        ("Size", noted(byte_size(line.size_bytes), on_disk)),
    )


def _limit_tile(limit: LimitVerdict) -> tuple[str, Cell]:
    """A limit with its verdict, and what stands against it."""
    taken, most = _told(limit)
    return f"Limit on {LIMITED[limit.name]}", noted(limit_verdict(most, limit.kept), taken)


def broken_limits(line: Headline) -> tuple[str, ...]:
    """Say which limits besides that on latency are broken, and what to do."""
    broken = ((LIMITED[x.name], *_told(x)) for x in line.other_limits if x.kept is False)
    return tuple(
        f"The limit on {what}, {most}, is broken: {taken}. Search again with a lower one, or "
        "export with another precision."
        for what, taken, most in broken
    )


def _told(limit: LimitVerdict) -> tuple[str, str]:
    """What was taken, and the limit; no line ends between a number and its unit."""
    if limit.taken is None:
        return "not known", quantity(limit.name, limit.most)
    taken = f"{limit.taken:,}"
    most = f"{limit.most:,}"
    if limit.name.endswith("_bytes"):
        taken, most = beside_limit(limit.taken, limit.most)
    taken, most = (x.replace(" ", NBSP) for x in (taken, most))
    return f"{taken} {limit.counted}".strip(), most


def _timed(line: Headline) -> str:
    """What was measured, with the figure of the times that it is."""
    return f"{milliseconds(line.measured_ms)}{figure_note(line.statistic)}"


def candidates_table(choices: Sequence[Choice], statistic: Statistic) -> Table:
    """List the front, the finalists and the winner with their latencies, the best first."""
    ordered = sorted(choices, key=lambda x: x.rank)
    times = {
        f"{device_name(latency.device)}, {how}{figure_note(statistic)}": [
            getattr(x.latencies[i], f"{how}_ms") for x in ordered
        ]
        for i, latency in enumerate(choices[0].latencies)
        for how in ("predicted", "measured")
    }
    # where nothing was measured there is no column of dashes: the last one needs the room
    times = {name: column for name, column in times.items() if any(column)}
    measured = [x.measured_memory_bytes for x in ordered]
    peaks = {"memory, measured": measured} if any(measured) else {}
    rows: list[tuple[Cell, ...]] = [
        (
            x.number or "-",
            x.role,
            f"{x.loss:.4f}{loss_mark(x.narrow_loss)}",
            *(milliseconds(column[i]) for column in times.values()),
            f"{x.num_parameters:,}",
            byte_size(x.size_bytes),
            byte_size(x.memory_bytes),
            *(byte_size(column[i]) for column in peaks.values()),
            wide(f"{x.arch.key}: {x.arch}"),
        )
        for i, x in enumerate(ordered)
    ]
    memory = ("memory, predicted", *peaks) if peaks else ("memory",)
    costs = ("parameters", "size", *memory, "architecture")
    return Table(("number", "role", "loss", *times, *costs), tuple(rows))


def scores_table(scores: ScoreTable | None, choices: Sequence[Choice]) -> Table | None:
    """List the scores of each subnet, one column a metric; None where nothing was evaluated."""
    if scores is None or not scores.subnets:
        return None
    now = {name: x.arch for x in choices for name in (x.role, f"front {x.number}")}
    metrics = list(dict.fromkeys(name for x in scores.subnets.values() for name in x.metrics))
    rows: list[tuple[Cell, ...]] = [
        (
            # the name says "winner" or "front 3", but a later search has another one
            name if now.get(name.partition(",")[0], x.arch) == x.arch else f"earlier {name}",
            *(score(x.metrics.get(metric)) for metric in metrics),
            f"{x.loss:.3f}",
            f"{x.num_parameters:,}",
            x.num_examples,
            x.setup or "-",
        )
        for name, x in scores.subnets.items()
    ]
    return Table(
        ("subnet", *metrics, "validation loss", "parameters", "examples", "setup"),
        tuple(rows),
        "Subnets on the test examples; weights are inherited unless the name says otherwise",
    )


def agreement_summary(points: tuple[Agreement, ...], statistic: Statistic) -> str:
    """Say how many predictions lie within the band."""
    num_near = sum(
        abs(x.predicted_ms - x.measured_ms) <= BAND_PERCENT / 100 * x.measured_ms for x in points
    )
    return (
        f"{num_near} of {len(points)} subnets were predicted within {BAND_PERCENT:g}% of what was "
        f"measured{figure_note(statistic)}."
    )


def agreement_table(points: tuple[Agreement, ...]) -> Table:
    """List the points of the chart with their relative errors."""
    rows = tuple(
        (
            code(x.key),
            "no" if x.fitted else "yes",
            three_digits(x.predicted_ms),
            three_digits(x.measured_ms),
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
        (
            "Older sessions, time ratio",
            ", ".join(f"{x.started_at} {x.time_ratio:.3f}" for x in card.rescaled_sessions) or None,
        ),
        ("Model", "regression and MLP" if card.uses_mlp else "regression"),
        ("Source", card.source or None),
        ("Licence", card.licence or None),
    )


def _time_ratio(board: BoardCalibration) -> str:
    return f"{board.host} {'unknown' if board.time_ratio is None else f'{board.time_ratio:.3f}'}"
