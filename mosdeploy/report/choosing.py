"""The part of the page that answers which subnet to take: a card for each, and what the script
needs to choose among them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from ..printable import EMULATED, figure_note, score
from .cells import Facts, Table, byte_size, device_name, estimate, milliseconds, noted
from .charts import agreement_chart, front_chart
from .choices import Axis, Choice, DeviceLatency, axes_of
from .family_page import FamilyPage
from .summary import Report


@dataclass(frozen=True)
class Card:
    """One subnet with all that is known of it; `answer` says the most of it in a sentence,
    `finetune_command` is to be run before `command`.
    """

    title: str
    answer: str
    facts: Facts
    command: str | None
    finetune_command: str | None
    drawing: Markup
    layers: Table
    shown: bool


def axes(report: Report) -> tuple[Axis, ...]:
    """What the page can limit."""
    return axes_of(report.choices, report.search, emulation_note(report))


def emulation_note(report: Report) -> str:
    """What stands behind the title of a time that means nothing; empty for a real device."""
    return f", {EMULATED}" if report.headline.emulated else ""


def agreement_note(report: Report) -> str:
    """What stands behind the titles of predicted and measured times."""
    return figure_note(report.search.statistic) + emulation_note(report)


def cards(report: Report, family: FamilyPage, *, has_test: bool = True) -> tuple[Card, ...]:
    """A card for each choice; the winner's is the one that is shown first."""
    figure = figure_note(report.search.statistic)
    return tuple(
        Card(
            title=_title(choice),
            answer=_answer(choice, figure),
            facts=_facts(choice, family.metric_title if has_test else None, figure),
            command=choice.command,
            finetune_command=choice.finetune_command,
            drawing=family.draw(choice.arch),
            layers=Table(family.layer_header, family.layer_rows(choice.arch)),
            shown=choice.role == "winner",
        )
        for choice in report.choices
    )


def script_data(report: Report) -> dict[str, Any]:
    """What the script chooses by: for each axis the limit that each choice needs, and its chart."""
    return {
        "keys": [x.arch.key for x in report.choices],
        "ranks": [x.rank for x in report.choices],
        "axes": [
            {
                **_slider(_with_commands(axis, report.choices)),
                "chart": chart_of(front_chart(report.choices, axis)),
            }
            for axis in axes(report)
        ],
        "agreement": chart_of(agreement_chart(report.agreement, agreement_note(report)))
        if report.agreement
        else None,
    }


def _with_commands(axis: Axis, choices: Sequence[Choice]) -> Axis:
    needed = (None if x.command is None else axis.needed[i] for i, x in enumerate(choices))
    return replace(axis, needed=tuple(needed))


def _slider(axis: Axis) -> dict[str, Any]:
    names = ("name", "unit", "low", "high", "step", "decimals", "needed")
    return {name: getattr(axis, name) for name in names}


def chart_of(chart: Any) -> dict[str, Any]:
    """A chart as the page embeds it: as wide as its place, and without the address of a schema."""
    spec: dict[str, Any] = chart.to_dict(validate=False)
    left_out = ("$schema", "config")
    return {"width": "container"} | {key: x for key, x in spec.items() if key not in left_out}


def front_summary(choices: Sequence[Choice]) -> str:
    """Say what the chart shows, for readers who cannot see it."""
    winner = next(x for x in choices if x.role == "winner")
    num_front = sum(x.number is not None for x in choices)
    return (
        f"Validation loss against what the limit is on: {num_front} subnets on the front, the "
        f"winner with a loss of {winner.loss:.4f}. The table below has every figure."
    )


def _title(choice: Choice) -> str:
    number = "Beside the front" if choice.number is None else f"Number {choice.number} of the front"
    return f"{number}, the winner" if choice.role == "winner" else number


def _answer(choice: Choice, figure: str) -> str:
    times = (f"{_spoken(x)} on {device_name(x.device)}{figure}" for x in _known(choice))
    costs = [f"{choice.num_parameters:,} parameters", byte_size(choice.size_bytes)]
    if choice.measured_memory_bytes is not None:
        costs.append(f"{byte_size(choice.measured_memory_bytes)} of memory measured")
    return f"{_title(choice)}: loss {choice.loss:.4f}, {', '.join((*times, *costs))}."


def _known(choice: Choice) -> list[DeviceLatency]:
    """Without those of which nothing is known, as of all but finalists without a predictor."""
    return [x for x in choice.latencies if x.predicted_ms or x.measured_ms]


def _spoken(latency: DeviceLatency) -> str:
    if latency.measured_ms is not None:
        return f"{milliseconds(latency.measured_ms)} measured"
    return f"{estimate(latency.predicted_ms, latency.error_percent)} predicted"


def _facts(choice: Choice, metric_title: str | None, figure: str) -> Facts:
    scores = [
        (f"{metric}, {weights}", score(value))
        for weights, metrics in choice.scores.items()
        for metric, value in metrics.items()
    ]
    name = "winner" if choice.role == "winner" else choice.number
    missing = None
    if not scores and name is not None and metric_title:
        missing = Markup("<code>mosdeploy evaluate --pick {}</code>").format(name)
    return (
        ("Validation loss", _loss(choice)),
        *scores,
        (metric_title or "", missing),
        *((f"On {device_name(x.device)}{figure}", _time(x)) for x in _known(choice)),
        ("Parameters", noted(f"{choice.num_parameters / 1e6:.2f} M", f"{choice.num_parameters:,}")),
        ("Size", noted(byte_size(choice.size_bytes), "model and tokenizer")),
        ("Memory", _memory(choice)),
    )


def _memory(choice: Choice) -> Markup | None:
    predicted = choice.memory_bytes
    measured = choice.measured_memory_bytes
    if predicted is None:
        return None
    if measured is None:
        return noted(byte_size(predicted), "with activations")
    note = f"of the process, measured in a search; weights and activations {byte_size(predicted)}"
    return noted(byte_size(measured), note)


def _loss(choice: Choice) -> str | Markup:
    notes = []
    if choice.time_loss is not None:
        notes.append(f"{choice.time_loss:+.4f} of it for the time of its training steps")
    if choice.narrow_loss is not None:
        notes.append(f"larger than one of {choice.narrow_loss:.4f}, taken before it")
    loss = f"{choice.loss:.4f}"
    return noted(loss, "; ".join(notes)) if notes else loss


def _time(latency: DeviceLatency) -> Markup:
    predicted = estimate(latency.predicted_ms, latency.error_percent)
    if latency.measured_ms is None:
        return noted(predicted, "predicted, not measured")
    note = "measured in a search"
    if latency.predicted_ms is not None:
        note += f"; {predicted} predicted"
    return noted(milliseconds(latency.measured_ms), note)
