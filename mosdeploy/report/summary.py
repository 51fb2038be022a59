"""What a report is made of: the records that the pipeline hands over, and the record that
`report.json` holds.
"""

from dataclasses import dataclass
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
from .choices import Choice
from .limits import LimitVerdict, other_limits


@dataclass(frozen=True)
class ReportInputs:
    """All that a report tells; None or empty where its command has not run yet."""

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

    version: Literal[2] = 2
    headline: Headline
    search: SearchResult
    choices: tuple[Choice, ...]
    agreement: tuple[Agreement, ...]
    predictor: PredictorCard | None
    bundle: BundleManifest | None
    deployments: tuple[Deployment, ...]
    scores: ScoreTable | None
    supernet: SupernetCard | None


def summarise(inputs: ReportInputs) -> Report:
    """Do the arithmetic of a report."""
    return Report(
        headline=_headline(inputs),
        search=inputs.search,
        choices=inputs.choices,
        agreement=_agreement(inputs),
        predictor=inputs.card,
        bundle=inputs.manifest,
        deployments=inputs.deployments,
        scores=inputs.scores,
        supernet=inputs.supernet,
    )


def delivery(inputs: ReportInputs) -> Deployment | None:
    """Find the deployment of what was delivered on the device that the search was for; the newest,
    if several.
    """
    if delivered_bundle(inputs) is None:
        return None
    return max(_deployments(inputs), key=lambda x: x.deployed_at, default=None)


def _deployments(inputs: ReportInputs) -> list[Deployment]:
    """Those of the bundle on the device that the search was for."""
    return [
        x
        for x in inputs.deployments
        if x.device.name == inputs.search.device and x.bundle_sha256 == inputs.manifest_sha256
    ]


def delivered(inputs: ReportInputs) -> Candidate:
    """The winner, or what was deployed in its place: another finalist, or one that was picked from
    the front.
    """
    search = inputs.search
    manifest = inputs.manifest
    if manifest is None or not _deployments(inputs):
        return search.winner
    return next((x for x in search.deliverable if x.arch == manifest.arch), search.winner)


def delivered_bundle(inputs: ReportInputs) -> BundleManifest | None:
    """The bundle, if it is that of what was delivered and does what was searched for: at any
    precision, but with no other beam, length or number of threads.
    """
    manifest = inputs.manifest
    search = inputs.search
    if manifest is None or manifest.arch != delivered(inputs).arch:
        return None
    return manifest if _is_alike(manifest.workload, search.workload) else None


def _is_alike(workload: Workload, other: Workload) -> bool:
    """Whether two workloads differ in their precision at most."""
    return workload.model_copy(update={"precision": other.precision}) == other


def is_emulated(inputs: ReportInputs) -> bool:
    """Tell whether the search's device is an emulation, whose times mean nothing."""
    return any(profile.emulated for profile in profiles(inputs))


def profiles(inputs: ReportInputs) -> list[DeviceProfile]:
    """The profiles of the search's device: as it is now, as it measured, as it was deployed to."""
    found = [x.device for x in (inputs.context, *inputs.deployments) if x is not None]
    found = [inputs.profile, *found] if inputs.profile is not None else found
    return [profile for profile in found if profile.name == inputs.search.device]


def _headline(inputs: ReportInputs) -> Headline:
    search = inputs.search
    subnet = delivered(inputs)
    scores = _scores_of(subnet, inputs)
    deployment = delivery(inputs)
    limit_ms, statistic = _limit(search, deployment)
    deployed_ms = deployment.measurement.figure_ms(statistic) if deployment else None
    # the search predicted and measured its own figure alone
    is_its_figure = statistic == search.statistic
    searched_ms = subnet.measured_ms if is_its_figure else None
    measured_ms = searched_ms if deployed_ms is None else deployed_ms
    emulated = is_emulated(inputs)
    limit_kept = None
    if measured_ms is not None and limit_ms is not None and not emulated:
        limit_kept = measured_ms <= limit_ms
    measured: Literal["bundle", "candidate", "nothing"] = "bundle"
    if deployed_ms is None:
        measured = "nothing" if measured_ms is None else "candidate"
    num_parameters = subnet.num_parameters
    size_bytes = subnet.size_bytes
    if deployment and inputs.bundle_size_bytes is not None:
        size_bytes = inputs.bundle_size_bytes
    bundle = delivered_bundle(inputs)
    if deployment and bundle:
        num_parameters = bundle.num_parameters  # its vocabulary may be trimmed
    built_bytes = inputs.limited_bytes if bundle else None
    return Headline(
        device=search.device,
        emulated=emulated,
        winner=subnet.arch.key,
        metrics=scores.metrics if scores else {},
        scored=f"{scores.setup}, in torch".removeprefix(", ") if scores else "",
        unscored="" if scores else _scored_by(subnet, inputs),
        predicted_ms=_uncorrected_ms(subnet, search) if is_its_figure else None,
        measured_ms=measured_ms,
        measured=measured,
        limit_ms=limit_ms,
        limit_kept=limit_kept,
        other_limits=tuple(
            other_limits(search.limits, subnet, built_bytes, deployment, emulated=emulated)
        ),
        statistic=statistic,
        num_parameters=num_parameters,
        size_bytes=size_bytes,
        noise=inputs.noise,
    )


def _limit(search: SearchResult, deployment: Deployment | None) -> tuple[float | None, Statistic]:
    """The latency limit that what was delivered was held to, and the figure that it is about: those
    of the search, as long as nothing is deployed.
    """
    if deployment is None:
        return search.limits.max_latency_ms, search.statistic
    if deployment.limit_ms is None:
        return None, search.statistic  # that of the deployment is about nothing
    return deployment.limit_ms, deployment.statistic


def _uncorrected_ms(subnet: Candidate, search: SearchResult) -> float | None:
    """What the predictor says; the search corrected it by what finalists took."""
    return None if subnet.predicted_ms is None else subnet.predicted_ms / search.level


def _scores_of(subnet: Candidate, inputs: ReportInputs) -> Scores | None:
    """Scores of a subnet with the weights of its bundle; inherited ones, as long as there is no
    bundle of it. None for those of another workload, or of weights that were trained again since.
    """
    bundle = delivered_bundle(inputs)
    subnet_sha256 = bundle.provenance.get("subnet") if bundle else None
    found = _scores_of_kind(subnet, bundle, inputs)
    if bundle and subnet_sha256 is None and inputs.scores is not None:
        # inherited weights are those of a supernet, which may have been trained again too
        supernet_sha256 = inputs.scores.supernet_sha256
        if bundle.provenance.get("supernet", supernet_sha256) != supernet_sha256:
            return None
    return next((x for x in found if x.subnet_sha256 == subnet_sha256), None)


def _scored_by(subnet: Candidate, inputs: ReportInputs) -> str:
    """What gives a subnet its scores: an export, where weights were scored that were trained since
    those of its bundle.
    """
    if _scores_of_kind(subnet, delivered_bundle(inputs), inputs):
        return "run mosdeploy export: there are newer weights"
    is_winner = subnet.arch == inputs.search.winner.arch
    if not inputs.has_test:
        return "there are no test examples"
    return f"run mosdeploy evaluate{'' if is_winner else f' --pick {subnet.arch.key}'}"


def _scores_of_kind(
    subnet: Candidate, bundle: BundleManifest | None, inputs: ReportInputs
) -> list[Scores]:
    """Scores of a subnet under the workload of the search, with weights of its bundle's kind."""
    table = inputs.scores
    if table is None or table.workload is None:
        return []
    if not _is_alike(table.workload, inputs.search.workload):
        return []
    kind = (subnet.arch, bundle.weights if bundle else "inherited")
    return [x for x in table.subnets.values() if (x.arch, x.weights) == kind]


def _agreement(inputs: ReportInputs) -> tuple[Agreement, ...]:
    search = inputs.search
    points = [
        Agreement(
            key=record.arch.key,
            predicted_ms=predicted_ms,
            measured_ms=measured_ms,
            fitted=True,
        )
        for record, predicted_ms in zip(inputs.records, inputs.predicted_ms, strict=True)
        if (measured_ms := record.measurement.figure_ms(search.statistic)) is not None
    ]
    fitted = {point.key for point in points}
    points += [
        Agreement(
            key=x.arch.key,
            predicted_ms=predicted_ms,
            measured_ms=x.measured_ms,
            fitted=False,
        )
        for x in search.finalists
        if (predicted_ms := _uncorrected_ms(x, search)) is not None
        and x.measured_ms is not None
        and x.arch.key not in fitted
    ]
    return tuple(points)
