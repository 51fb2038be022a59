"""What a verb prints at its end: a line or two for people, or one record for programs."""

import os
import sys
from typing import TYPE_CHECKING, Any

from .progress import PROGRESS

if TYPE_CHECKING:
    from ..pipeline.summaries import DemoSummary, ProfileSummary
    from ..record import Record
    from ..records import DryRun, Limits, PredictorCard

EMULATED = "emulated: not a latency"


def show(record: "Record", as_json: bool, text: str, next_command: str | None = None) -> None:
    """End a verb: the record alone, or the text, and on stderr the command to run next.

    Of several processes that torchrun started, the first one speaks.
    """
    PROGRESS.close()
    if os.environ.get("RANK", "0") != "0":
        return
    if as_json:
        print(record.model_dump_json())
        return
    print(text)
    if next_command:
        print(f"next: {next_command}", file=sys.stderr)


def demo_rows(demo: "DemoSummary") -> list[tuple[str, str]]:
    winner, scores, total = (
        demo.search.winner,
        demo.scores.subnets,
        demo.deployment.measurement.total,
    )
    names = {"winner": "BLEU, chrF", "largest": "  largest", "smallest": "  smallest"}
    return [
        ("winner", f"{winner.arch.key}  {winner.arch}"),
        ("parameters", f"{winner.num_parameters:,}"),
        *(
            (label, f"{scores[name].bleu:.1f}, {scores[name].chrf:.1f}")
            for name, label in names.items()
        ),
        ("predicted", f"{winner.predicted_ms:.2f} ms"),
        ("measured", f"{winner.measured_ms:.2f} ms"),
        ("bundle measured", f"{total.median_ms:.2f} ms" if total else "not timed"),
        ("limit", f"{demo.search.limits.max_latency_ms:g} ms"),
        ("bundle", demo.bundle),
        ("page", demo.page),
    ]


def cost_table(tried: "DryRun") -> str:
    """What `train --dry-run` found, a line a way to share weights."""
    rows = [
        (
            name,
            f"{cost.num_parameters:,}",
            *(
                f"{size / 2**20:,.0f}"
                for size in (cost.parameters_bytes, cost.optimizer_bytes, cost.peak_bytes)
            ),
            f"{cost.update_s * 1000:,.0f}",
            f"{cost.update_s / tried.costs['none'].update_s:.2f}",
        )
        for name, cost in tried.costs.items()
    ]
    head = ("supernet", "parameters", "MiB", "optimiser MiB", "peak MiB", "ms an update", "to none")
    cost = tried.costs["configured"]
    return (
        f"{table(head, rows)}\nconfigured: {tried.steps:,} updates of {cost.target_tokens:,} target tokens, "
        f"{tried.steps * cost.target_tokens / 1e6:,.1f} million in all, "
        f"about {tried.steps * cost.update_s / 3600:,.1f} hours with one process here"
    )


def card_line(card: "PredictorCard") -> str:
    return (
        f"{card.num_samples} subnets, error {card.mape_percent:.2f}%, {card.within_5_percent:.0f}% within 5%, "
        f"Kendall tau {card.kendall_tau:.3f}"
    )


def until(result: "ProfileSummary") -> str:
    if result.until_error_percent is None:
        return ""
    limit = f"an error of {result.until_error_percent:g}% (over the subnets that the fit trusts)"
    return (
        f"\n{limit} is reached"
        if result.error_met
        else f"\nthe budget is spent; {limit} is NOT reached"
    )


def fleet(result: "ProfileSummary") -> str:
    """The boards of a fleet, a line each: how many subnets, the reference and its ratio to the
    fleet's; who failed.
    """
    lines = []
    for x in result.boards:
        level = (
            ""
            if x.time_ratio is None
            else f", reference {x.reference_ms:.2f} ms, {x.time_ratio:.3f} of the fleet's"
        )
        lines.append(f"\n{x.host}: {x.num_subnets} subnets{level}")
    lines += [f"\n{host} dropped out: {cause}" for host, cause in result.dropped.items()]
    return "".join(lines)


def transfer(card: "PredictorCard") -> str:
    trial = card.transfer
    if trial is None:
        return ""
    scratch = (
        "too few subnets" if trial.scratch_percent is None else f"{trial.scratch_percent:.2f}%"
    )
    used = (
        f"corrected from {trial.source}"
        if trial.used
        else f"fitted from scratch, not from {trial.source}"
    )
    return f"\n{used}: error {trial.error_percent:.2f}%, from scratch {scratch} (best nine tenths, held out)"


def measured(measured_ms: float | None, limits: "Limits") -> str:
    if measured_ms is None:
        return "NOT measured (--no-verify): the limit is a prediction"
    return f"measured {measured_ms:.2f} ms on the device{kept(measured_ms, limits.max_latency_ms)}"


def kept(measured_ms: float | None, limit_ms: float | None) -> str:
    if measured_ms is None or limit_ms is None:
        return ""
    return f", limit {limit_ms:g} ms {'kept' if measured_ms <= limit_ms else 'NOT kept'}"


def plain(value: Any) -> str:
    return " ".join(str(x) for x in value) if isinstance(value, tuple) else str(value)


def table(header: tuple[str, ...], rows: Any) -> str:
    lines = [header, *rows]
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(header))]
    text = [
        "  ".join(str(cell).ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([text[0], "  ".join("-" * width for width in widths), *text[1:]])
