"""The verb `search`."""

from typing import TYPE_CHECKING

from ..printable import byte_size, figure_note, kept, loss_mark, milliseconds, predicted
from ..run_folder.options import SearchOptions
from .options import Common
from .printing import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..records import Candidate, SearchResult

MAX_FRONT_ROWS = 8
LARGER = (
    "* more layers or wider FFNs than one of lower loss, before which it is taken: a short "
    "training favours small ones"
)


def search(common: Common, options: SearchOptions) -> None:
    """Find the best subnet within limits, as measured on the device."""
    from ..pipeline.search import search as find

    result = find(common.context(), options)
    common.show(result, _text(result), "mosdeploy finetune")


def _text(result: "SearchResult") -> str:
    from ..search.front import front_members

    winner = result.winner
    body = ""
    if result.limits.max_body_parameters is not None:
        body = f", {winner.num_body_parameters:,} without the embedding table"
    memory = ""
    if result.limits.max_memory_bytes is not None:
        memory = f", {byte_size(winner.memory_bytes)} of memory"
        if winner.measured_memory_bytes is not None:
            memory += f" ({byte_size(winner.measured_memory_bytes)} measured)"
    time = ""
    if winner.time_loss is not None:
        time = f" with {winner.time_loss:+.4f} for the time of its training steps"
    lines = [
        f"winner {winner.arch.key}: {winner.arch}",
        f"  validation loss {winner.loss:.4f}{time}, {winner.num_parameters:,} parameters{body}"
        f"{memory}",
        f"  {result.num_evaluated:,} subnets evaluated",
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
            f"{front[i].loss:.4f}{loss_mark(front[i].base_loss)}",
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
    return [*lines, *([LARGER] if any(front[i].base_loss is not None for i in numbers) else [])]
