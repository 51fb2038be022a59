"""What a search leaves to choose from: the front, the finalists and the winner, priced for every
device that has a predictor in the run folder.
"""

import contextlib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, get_args

from ..config.units import Statistic
from ..errors import MosdeployError, OtherConditionsError
from ..records import Candidate, LatencyRecord, ScoreTable, SearchResult
from ..run_folder.conditions import latency_context
from ..run_folder.devices import run_profile
from ..run_folder.predictors import predictor, tail_ratio
from ..run_folder.run import Run
from ..spaces.genes import ArchConfig

if TYPE_CHECKING:
    from ..report import Choice
    from ..report.selection import DeviceLatency

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DevicePrices:
    """Latencies on a device that the search was not for, in ms by the architectures' keys, and the
    mean error of its predictor in cross-validation.
    """

    device: str
    predicted_ms: Mapping[str, float]
    measured_ms: dict[str, float] = field(default_factory=dict)
    error_percent: float | None = None


def candidates(search: SearchResult) -> list[Candidate]:
    """The front, fastest first, then the other finalists and the winner; each once."""
    from ..search.front import front_members

    found = {x.arch.key: x for x in front_members(search)}
    for other in (*search.finalists, search.winner):
        found.setdefault(other.arch.key, other)
    return list(found.values())


def choices(
    search: SearchResult,
    scores: ScoreTable | None = None,
    elsewhere: Sequence[DevicePrices] = (),
    *,
    untrained: Collection[str] = (),
    error_percent: float | None = None,
) -> "tuple[Choice, ...]":
    """Put together what is known of each candidate."""
    from ..report import Choice
    from ..search import best_first

    found = candidates(search)
    order = best_first(found)
    finalists = {x.arch.key for x in search.finalists}
    is_timed = any(x.predicted_ms or x.measured_ms for x in found)
    is_elsewhere = any(x.device == search.device for x in elsewhere)
    own = ((search.device, error_percent),) if is_timed and not is_elsewhere else ()
    made = []
    for i, candidate in enumerate(found):
        number = i + 1 if i < len(search.front) else None
        is_winner = candidate.arch == search.winner.arch
        name = number or (candidate.arch.key if candidate in search.kept else None)
        option = None if name is None else f" --pick {name}"
        if is_winner:
            option = ""
        is_untrained = option is not None and candidate.arch.key in untrained
        is_finalist = candidate.arch.key in finalists
        made.append(
            Choice(
                number=number,
                role="winner" if is_winner else "finalist" if is_finalist else "front",
                arch=candidate.arch,
                loss=candidate.loss,
                is_enlarged=candidate.narrow_loss is not None,
                time_loss=candidate.time_loss,
                rank=order.index(i),
                latencies=_latencies(candidate, own, elsewhere),
                num_parameters=candidate.num_parameters,
                size_bytes=candidate.size_bytes,
                memory_bytes=candidate.memory_bytes,
                measured_memory_bytes=candidate.measured_memory_bytes,
                scores=_scores(candidate.arch, scores),
                command=None if option is None else f"mosdeploy export{option}",
                finetune_command=f"mosdeploy finetune{option}" if is_untrained else None,
            )
        )
    return tuple(made)


def prices_elsewhere(run: Run, search: SearchResult) -> tuple[DevicePrices, ...]:
    """Price the candidates for each device with a predictor in the run folder, but not for that of
    the search where the search did.
    """
    found = candidates(search)
    searched_ms = {x.arch.key: x.measured_ms for x in found if x.measured_ms is not None}
    archs = [x.arch for x in found]
    priced = search.winner.predicted_ms is not None
    prices = []
    for device in run.devices_with_latencies():
        if device == search.device and priced:
            continue
        try:
            prices.append(_prices(run, device, archs, search.statistic))
            if device == search.device:
                prices[-1] = replace(prices[-1], measured_ms=prices[-1].measured_ms | searched_ms)
        except MosdeployError as error:
            _log.warning("the page leaves %s out: %s", device, error)
    # the first one is what the page begins with
    return tuple(sorted(prices, key=lambda x: (x.device != search.device, x.device)))


def _prices(
    run: Run, device: str, archs: Sequence[ArchConfig], statistic: Statistic
) -> DevicePrices:
    model = predictor(run, device, current=False)  # the page shows what was
    ratio = tail_ratio(run, device, statistic, current=False)
    predicted_ms = (model.predict(model.space.genes(archs)) * ratio).tolist()
    measured = _measured(run, device, statistic)
    figures = {x.arch.key: x.measurement.figure_ms(statistic) for x in measured}
    return DevicePrices(
        device=device,
        predicted_ms=dict(zip((arch.key for arch in archs), predicted_ms, strict=True)),
        measured_ms={key: figure_ms for key, figure_ms in figures.items() if figure_ms},
        error_percent=model.card.mape_percent,
    )


def _measured(run: Run, device: str, statistic: Statistic) -> list[LatencyRecord]:
    """Finalists of another search, timed with at least the repeats that a figure needs; none where
    they were measured under other conditions than those of now.
    """
    from ..latency.dataset import LatencyDataset

    path = run.workspace.verified_path(device, run.config.workload.name)
    if not path.exists():
        return []
    dataset = LatencyDataset.load(path)
    profile = run_profile(run.workspace.root, dataset.context.device.name)
    figures = get_args(Statistic)
    # the further out a figure lies, the more repeats it needs
    for figure in figures[figures.index(statistic) :]:
        with contextlib.suppress(OtherConditionsError):
            dataset.check(latency_context(run, profile.timed_for(figure)))
            return dataset.usable
    return []


def _latencies(
    candidate: Candidate,
    own: Sequence[tuple[str, float | None]],
    elsewhere: Sequence[DevicePrices],
) -> "tuple[DeviceLatency, ...]":
    from ..report.selection import DeviceLatency
    from ..search.front import needed_ms

    key = candidate.arch.key
    others = [
        (
            x.device,
            x.error_percent,
            candidate.model_copy(
                update={
                    "predicted_ms": x.predicted_ms.get(key),
                    "measured_ms": x.measured_ms.get(key),
                }
            ),
        )
        for x in elsewhere
    ]
    return tuple(
        DeviceLatency(
            device=name,
            predicted_ms=priced.predicted_ms,
            error_percent=error,
            measured_ms=priced.measured_ms,
            needed_ms=needed_ms(priced),
        )
        for name, error, priced in (*((*device, candidate) for device in own), *others)
    )


def _scores(arch: ArchConfig, table: ScoreTable | None) -> dict[str, dict[str, float]]:
    """Metrics of a subnet by the kind of its weights."""
    subnets = table.subnets.values() if table else ()
    return {x.weights: dict(x.metrics) for x in subnets if x.arch == arch}
