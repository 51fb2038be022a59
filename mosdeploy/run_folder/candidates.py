"""The candidates of a search that a reader can choose from, priced for every device."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import MosdeployError
from ..records import Candidate, ScoreTable, SearchResult
from .predictors import predictor, tail_ratio
from .run import Run

if TYPE_CHECKING:
    from ..report import Choice
    from ..report.selection import DeviceLatency

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DevicePrices:
    """Predicted latencies on one device, in ms by the architectures' keys."""

    device: str
    predicted_ms: Mapping[str, float | None]
    error_percent: float | None = None


def candidates(search: SearchResult) -> list[Candidate]:
    """List the front, fastest first, then the other finalists and the winner; each once."""
    from ..search.front import front_members

    found = {x.arch.key: x for x in front_members(search)}
    for other in (*search.finalists, search.winner):
        found.setdefault(other.arch.key, other)
    return list(found.values())


def choices(
    search: SearchResult,
    scores: ScoreTable | None = None,
    prices: Sequence[DevicePrices] = (),
    *,
    untrained: Collection[str] = (),
    error_percent: float | None = None,
) -> "tuple[Choice, ...]":
    """Put together what is known of each candidate."""
    from ..report import Choice
    from ..search.front import best_first

    found = candidates(search)
    is_timed = any(x.predicted_ms or x.measured_ms for x in found)
    if is_timed and search.device not in [x.device for x in prices]:
        predicted_ms = {x.arch.key: x.predicted_ms for x in found}
        prices = (DevicePrices(search.device, predicted_ms, error_percent), *prices)
    order = best_first(found)
    finalists = {x.arch.key for x in search.finalists}
    made = []
    for i, candidate in enumerate(found):
        key = candidate.arch.key
        number = i + 1 if i < len(search.front) else None
        is_winner = candidate.arch == search.winner.arch
        pick = None  # a finalist that broke the limit is not delivered
        if is_winner:
            pick = ""
        elif number is not None or candidate in search.kept:
            pick = f" --pick {number or key}"
        is_untrained = pick is not None and key in untrained
        made.append(
            Choice(
                number=number,
                role="winner" if is_winner else "finalist" if key in finalists else "front",
                arch=candidate.arch,
                loss=candidate.loss,
                is_enlarged=candidate.base_loss is not None,
                time_loss=candidate.time_loss,
                rank=order.index(i),
                latencies=tuple(_latency(candidate, search, x) for x in prices),
                num_parameters=candidate.num_parameters,
                size_bytes=candidate.size_bytes,
                memory_bytes=candidate.memory_bytes,
                measured_memory_bytes=candidate.measured_memory_bytes,
                scores={
                    x.weights: dict(x.metrics)
                    for x in (scores.subnets.values() if scores else ())
                    if x.arch == candidate.arch
                },
                command=None if pick is None else f"mosdeploy export{pick}",
                finetune_command=f"mosdeploy finetune{pick}" if is_untrained else None,
            )
        )
    return tuple(made)


def _latency(candidate: Candidate, search: SearchResult, prices: DevicePrices) -> "DeviceLatency":
    from ..report.selection import DeviceLatency

    predicted_ms = prices.predicted_ms.get(candidate.arch.key)
    measured_ms = candidate.measured_ms if prices.device == search.device else None
    return DeviceLatency(
        device=prices.device,
        predicted_ms=predicted_ms,
        error_percent=prices.error_percent,
        measured_ms=measured_ms,
        # without a prediction the others could not be compared with it
        needed_ms=None if predicted_ms is None else measured_ms or predicted_ms,
    )


def device_prices(run: Run, search: SearchResult) -> tuple[DevicePrices, ...]:
    """Price the candidates for each device with a predictor in the run folder, the search's first.

    The search itself has priced them for its own device, unless it had no predictor.
    """
    archs = [x.arch for x in candidates(search)]
    prices = []
    for device in run.devices_with_latencies():
        if device == search.device and search.winner.predicted_ms is not None:
            continue
        try:
            model = predictor(run, device, current=False)  # the page shows what was
            ratio = tail_ratio(run, device, search.statistic, current=False)
        except MosdeployError as error:
            _log.warning("the page leaves %s out: %s", device, error)
            continue
        times_ms = (model.predict(model.space.genes(archs)) * ratio).tolist()
        by_key = dict(zip((arch.key for arch in archs), times_ms, strict=True))
        prices.append(DevicePrices(device, by_key, model.card.mape_percent))
    return tuple(sorted(prices, key=lambda x: (x.device != search.device, x.device)))
