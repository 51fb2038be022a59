"""The verb `search`."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..printable import byte_size, figure_note, kept, loss_mark, milliseconds, predicted
from .options import NO_LIMITS, DeviceCommon, LimitOptions, ProfiledDeviceOption
from .printing import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..records import Candidate, SearchResult

MAX_FRONT_ROWS = 8
FAR_BELOW = 0.6
"""Of a limit; a winner of a film review classifier that took 0.43 of it, after a short training of
the supernet, was 3 points worse on validation texts than a larger net
(`docs/encoder-results.md`).
"""

LARGER = (
    "* more layers or wider FFNs than one of lower loss, before which it is taken: a short "
    "training favours small ones"
)


def search(
    common: DeviceCommon,
    device: ProfiledDeviceOption = None,
    limits: LimitOptions = NO_LIMITS,
    statistic: Annotated[
        Literal["median", "p90", "p99"] | None,
        typer.Option(
            help="Which figure of the times --max-latency is about.",
            show_default="[search].statistic",
        ),
    ] = None,
    verify: Annotated[bool, typer.Option(help="Measure the finalists on the device.")] = True,
) -> None:
    """Find the best subnet within limits, as measured on the device."""
    from ..pipeline.search import SearchOptions
    from ..pipeline.search import search as find

    context = common.context()
    asked = limits.limits(context.config.search)
    result = find(context, SearchOptions(device, asked, verify, statistic))
    text = _text(result)
    untrained = not context.config.search.finalist_steps
    if untrained and result.winner.arch != context.config.space.largest:
        text += _hint(result)
    common.show(result, text, "mosdeploy finetune")


def _hint(result: "SearchResult") -> str:
    """What may find a better winner where one stays far below its limit; empty for any other, and
    for one that was chosen because its training steps are short.
    """
    from ..records import Limits

    winner = result.winner
    limit_ms = result.limits.max_latency_ms
    taken_ms = winner.measured_ms or winner.predicted_ms
    if limit_ms is None or taken_ms is None or winner.time_loss is not None:
        return ""
    if result.limits != Limits(max_latency_ms=limit_ms):  # another one may be what binds
        return ""
    if taken_ms > FAR_BELOW * limit_ms:
        return ""
    return (
        f"\nthe winner takes {taken_ms / limit_ms:.0%} of the limit: larger subnets may come to "
        "more when they are trained; `[search] finalist_steps = 30` trains finalists of several "
        "depths for so many steps before one of them wins"
    )


def _text(result: "SearchResult") -> str:
    from ..search.front import front_members

    winner = result.winner
    counts = f"  {result.num_evaluated:,} subnets evaluated"
    if result.num_early_stopped:
        counts += f", {result.num_early_stopped:,} of them stopped early, being clearly worse"
    if result.quality is not None:
        counts += (
            f", {result.num_predicted:,} predicted; the quality predictor's Kendall tau on subnets "
            f"held out from it: {result.quality.kendall_tau:.3f}"
        )
    body = ""
    if result.limits.max_body_parameters is not None:
        body = f", {winner.num_body_parameters:,} without the embedding table"
    memory = ""
    if result.limits.max_memory_bytes is not None and winner.memory_bytes is not None:
        memory = f", {byte_size(winner.memory_bytes)} of memory"
        if winner.measured_memory_bytes is not None:
            memory += f" ({byte_size(winner.measured_memory_bytes)} measured)"
    trained = ""
    if winner.time_loss is not None:
        trained = f" with {winner.time_loss:+.4f} for the time of its training steps"
    if winner.trained_loss is not None:
        trained += f" as inherited, {winner.trained_loss:.4f} after its first steps alone"
    lines = [
        f"winner {winner.arch.key}: {winner.arch}",
        f"  validation loss {winner.loss:.4f}{trained}, {winner.num_parameters:,} parameters{body}"
        f"{memory}",
        counts,
    ]
    if winner.predicted_ms is not None:
        measured = "NOT measured (--no-verify): the limit is a prediction"
        if winner.measured_ms is not None:
            limit = kept(winner.measured_ms, result.limits.max_latency_ms, result.statistic)
            measured = f"measured {milliseconds(winner.measured_ms)} on the device{limit}"
        figure = figure_note(result.statistic)
        word = predicted(result.level)
        lines.append(f"  {word} {milliseconds(winner.predicted_ms)}{figure}, {measured}")
    return "\n".join([*lines, *_front(result, front_members(result))])


def _front(result: "SearchResult", front: "Sequence[Candidate]") -> list[str]:
    """A few members of the front, from the fastest to the best, if there are several."""
    if len(front) < 2:
        return []
    rows = min(len(front), MAX_FRONT_ROWS)
    numbers = sorted({round(i * (len(front) - 1) / (rows - 1)) for i in range(rows)})
    shown = [
        (
            i + 1,
            milliseconds(front[i].predicted_ms),
            milliseconds(front[i].measured_ms),
            f"{front[i].loss:.4f}{loss_mark(front[i].narrow_loss)}",
            f"{front[i].num_parameters:,}",
            front[i].arch,
        )
        for i in numbers
    ]
    figure = figure_note(result.statistic)
    times = (f"{predicted(result.level)}{figure}", f"measured{figure}")
    loss = "validation loss" + (", with time" if front[0].time_loss is not None else "")
    header = ("--pick", *times, loss, "parameters", "architecture")
    lines = ["the front: no other is as fast and as good as one of these", table(header, shown)]
    return [*lines, *([LARGER] if any(front[i].narrow_loss is not None for i in numbers) else [])]
