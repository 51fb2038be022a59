"""The records that a report is made of, and what it concludes from them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from ..config.device import DeviceProfile
from ..config.units import Statistic
from ..record import Record
from ..records import (
    BundleManifest,
    Candidate,
    Deployment,
    LatencyContext,
    LatencyRecord,
    PredictorCard,
    Scores,
    ScoreTable,
    SearchResult,
    SessionRecord,
    SupernetCard,
)
from ..spaces import Workload
from .selection import Choice


@dataclass(frozen=True)
class ReportInputs:
    """Records that a report tells of; None or empty where their command has not run yet."""

    search: SearchResult
    choices: tuple[Choice, ...]
    context: LatencyContext | None = None
    profile: DeviceProfile | None = None
    sessions: tuple[SessionRecord, ...] = ()
    records: tuple[LatencyRecord, ...] = ()
    predicted_ms: tuple[float, ...] = ()
    card: PredictorCard | None = None
    manifest: BundleManifest | None = None
    manifest_sha256: str | None = None
    bundle_size_bytes: int | None = None
    limited_bytes: int | None = None
    deployments: tuple[Deployment, ...] = ()
    scores: ScoreTable | None = None
    supernet: SupernetCard | None = None
    noise: str = ""
    has_test: bool = True
    made_from: dict[str, str] = field(default_factory=dict)


class LimitVerdict(Record):
    """A limit on size or memory; `kept` is None where that is not known."""

    name: str
    most: int
    taken: int | None
    counted: str
    kept: bool | None


class Headline(Record):
    """The answer in numbers."""

    device: str
    emulated: bool
    winner: str
    metrics: dict[str, float]
    scored: str = ""
    unscored: str = ""
    predicted_ms: float | None
    measured_ms: float | None
    measured: Literal["bundle", "candidate", "nothing"]
    limit_ms: float | None
    limit_kept: bool | None
    other_limits: tuple[LimitVerdict, ...] = ()
    statistic: Statistic = "median"
    num_parameters: int
    size_bytes: int
    noise: str = ""


class Agreement(Record):
    """One subnet, predicted and measured, by the figure of the times that the search's limit is
    about; `fitted` if the predictor was fitted on it.
    """

    key: str
    predicted_ms: float
    measured_ms: float
    fitted: bool


class Report(Record):
    """Everything on the page, for programs; `report.json`."""

    version: Literal[3] = 3
    inputs: dict[str, str]
    headline: Headline
    search: SearchResult
    choices: tuple[Choice, ...]
    agreement: tuple[Agreement, ...]
    predictor: PredictorCard | None
    bundle: BundleManifest | None
    deployments: tuple[Deployment, ...]
    scores: ScoreTable | None
    supernet: SupernetCard | None


@dataclass(frozen=True)
class Delivery:
    """The subnet that the headline is about; its bundle and deployment, if it has them."""

    candidate: Candidate
    bundle: BundleManifest | None = None
    deployment: Deployment | None = None


def summarise(inputs: ReportInputs) -> Report:
    """Do the arithmetic of a report."""
    return Report(
        inputs=inputs.made_from,
        headline=_headline(inputs),
        search=inputs.search,
        choices=inputs.choices,
        agreement=tuple(_agreement(inputs)),
        predictor=inputs.card,
        bundle=inputs.manifest,
        deployments=inputs.deployments,
        scores=inputs.scores,
        supernet=inputs.supernet,
    )


def delivery_of(inputs: ReportInputs) -> Delivery:
    """Find the deployed subnet; the winner, as long as nothing of this search is deployed.

    A bundle counts if it does what was searched for: at any precision, but with no other beam,
    length or number of threads.
    """
    search = inputs.search
    bundle = inputs.manifest
    if bundle is None or not _is_alike(bundle.workload, search.workload):
        return Delivery(search.winner)
    deployments = [
        x
        for x in inputs.deployments
        if x.device.name == search.device and x.bundle_sha256 == inputs.manifest_sha256
    ]
    newest = max(deployments, key=lambda x: x.deployed_at, default=None)
    possible = search.deliverable if newest else (search.winner,)
    for candidate in possible:
        if candidate.arch == bundle.arch:
            return Delivery(candidate, bundle, newest)
    return Delivery(search.winner)


def _is_alike(workload: Workload, other: Workload) -> bool:
    """Tell whether two workloads differ in their precision at most."""
    return workload.model_copy(update={"precision": other.precision}) == other


def is_emulated(inputs: ReportInputs) -> bool:
    """Tell whether the search's device is an emulation, whose times mean nothing."""
    return any(profile.emulated for profile in profiles(inputs))


def profiles(inputs: ReportInputs) -> list[DeviceProfile]:
    """List the profiles of the search's device: now, as it measured, as it was deployed to."""
    found = [x.device for x in (inputs.context, *inputs.deployments) if x is not None]
    found = [inputs.profile, *found] if inputs.profile is not None else found
    return [profile for profile in found if profile.name == inputs.search.device]


def _headline(inputs: ReportInputs) -> Headline:
    search = inputs.search
    found = delivery_of(inputs)
    subnet = found.candidate
    limit_ms = search.limits.max_latency_ms
    statistic = search.statistic
    predicted_ms = _uncorrected_ms(subnet, search)
    measured_ms = subnet.measured_ms
    measured: Literal["bundle", "candidate", "nothing"] = "candidate" if measured_ms else "nothing"
    num_parameters = subnet.num_parameters
    size_bytes = subnet.size_bytes
    if found.bundle is not None and found.deployment is not None:
        limit_ms = found.deployment.limit_ms
        if limit_ms is not None and found.deployment.statistic != statistic:
            # the search predicted another figure of the times
            statistic = found.deployment.statistic
            predicted_ms = measured_ms = None
        if (deployed_ms := found.deployment.measurement.figure_ms(statistic)) is not None:
            measured, measured_ms = "bundle", deployed_ms
        num_parameters = found.bundle.num_parameters  # its vocabulary may be trimmed
        size_bytes = inputs.bundle_size_bytes or size_bytes
    emulated = is_emulated(inputs)
    limit_kept = None
    if measured_ms is not None and limit_ms is not None and not emulated:
        limit_kept = measured_ms <= limit_ms
    scores = _scores_of(found, inputs)
    unscored = "there are no test examples"
    if inputs.has_test:
        is_winner = subnet.arch == search.winner.arch
        unscored = f"run mosdeploy evaluate{'' if is_winner else f' --pick {subnet.arch.key}'}"
    return Headline(
        device=search.device,
        emulated=emulated,
        winner=subnet.arch.key,
        metrics=scores.metrics if scores else {},
        scored=f"{scores.setup}, in torch".removeprefix(", ") if scores else "",
        unscored="" if scores else unscored,
        predicted_ms=predicted_ms,
        measured_ms=measured_ms,
        measured=measured,
        limit_ms=limit_ms,
        limit_kept=limit_kept,
        other_limits=tuple(_other_limits(found, inputs, emulated=emulated)),
        statistic=statistic,
        num_parameters=num_parameters,
        size_bytes=size_bytes,
        noise=inputs.noise,
    )


def _uncorrected_ms(subnet: Candidate, search: SearchResult) -> float | None:
    """Return what the predictor says; the search corrected it by what finalists took."""
    return None if subnet.predicted_ms is None else subnet.predicted_ms / search.level


def _scores_of(found: Delivery, inputs: ReportInputs) -> Scores | None:
    """Find the scores of the very weights that are delivered, under the search's workload."""
    table = inputs.scores
    if table is None or table.workload is None:
        return None
    if not _is_alike(table.workload, inputs.search.workload):
        return None
    weights = "inherited"
    subnet_sha256 = None
    if found.bundle is not None:
        weights = found.bundle.weights
        subnet_sha256 = found.bundle.provenance.get("subnet")
        supernet_sha256 = found.bundle.provenance.get("supernet", table.supernet_sha256)
        if subnet_sha256 is None and supernet_sha256 != table.supernet_sha256:
            return None
    wanted = (found.candidate.arch, weights, subnet_sha256)
    scores = table.subnets.values()
    return next((x for x in scores if (x.arch, x.weights, x.subnet_sha256) == wanted), None)


def _other_limits(
    found: Delivery, inputs: ReportInputs, *, emulated: bool
) -> Iterator[LimitVerdict]:
    """Judge the limits on size and memory by the best that is known; parameters are exact."""
    limits = inputs.search.limits
    subnet = found.candidate
    if (most := limits.max_size_bytes) is not None:
        built_bytes = inputs.limited_bytes if found.bundle else None
        is_built = built_bytes is not None
        counted = "of model and tokenizer" + ("" if is_built else ", estimated")
        taken = built_bytes if is_built else subnet.size_bytes
        yield _verdict("max_size_bytes", most, taken, counted, is_known=is_built)
    deployment = found.deployment
    if (most := (deployment and deployment.max_memory_bytes) or limits.max_memory_bytes) is None:
        return
    taken = subnet.measured_memory_bytes
    counted = "of the process, during the search"
    if deployment is not None:
        taken = deployment.measurement.memory_bytes
        counted = "of the process, as deployed"
    is_measured = deployment is not None or taken is not None
    if not is_measured:
        taken = subnet.memory_bytes
        counted = "of weights and activations, predicted"
    yield _verdict("max_memory_bytes", most, taken, counted, is_known=is_measured and not emulated)


def _verdict(
    name: str, most: int, taken: int | None, counted: str, *, is_known: bool = True
) -> LimitVerdict:
    kept = taken <= most if is_known and taken is not None else None
    return LimitVerdict(name=name, most=most, taken=taken, counted=counted, kept=kept)


def _agreement(inputs: ReportInputs) -> Iterator[Agreement]:
    """Pair predictions with measurements: of the subnets in the fit, then of new finalists."""
    search = inputs.search
    fitted = set()
    for record, predicted_ms in zip(inputs.records, inputs.predicted_ms, strict=True):
        measured_ms = record.measurement.figure_ms(search.statistic)
        if measured_ms is None:
            continue
        key = record.arch.key
        fitted.add(key)
        yield Agreement(key=key, predicted_ms=predicted_ms, measured_ms=measured_ms, fitted=True)
    for finalist in search.finalists:
        finalist_ms = _uncorrected_ms(finalist, search)
        measured_ms = finalist.measured_ms
        key = finalist.arch.key
        if finalist_ms is not None and measured_ms is not None and key not in fitted:
            yield Agreement(
                key=key, predicted_ms=finalist_ms, measured_ms=measured_ms, fitted=False
            )
