"""The verb `report`: read everything, change nothing, write one page."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.device import DeviceProfile, load_profile
from ..errors import ConfigError, StaleInputError
from ..folders import listed
from ..notebook import HtmlTable
from ..records import (
    DataCard,
    Deployment,
    LatencyRecord,
    ScoreTable,
    SearchResult,
    SessionRecord,
)
from ..run_folder.bundles import folder_bytes, limited_bytes, newest_bundle
from ..run_folder.context import Context
from ..run_folder.enough_measured import excess_noise, profile_command
from ..run_folder.predictors import predictor, tail_ratio
from ..run_folder.subnets import are_current, is_trained
from ..run_folder.trained_run import TrainedRun, trained_run
from ..storage import read_record, sha256_file
from ..workspace import Workspace
from .choices import candidates, choices, prices_elsewhere
from .evaluate import scored_inputs

if TYPE_CHECKING:
    from ..latency.dataset import LatencyDataset
    from ..latency.predictor import LatencyPredictor
    from ..report import Report

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReportResult(HtmlTable):
    """A report that was just written: the page, and what `report.json` beside it holds."""

    page: Path
    report: "Report"


def report(context: Context) -> ReportResult:
    """Write the report of a run folder; it names what is missing, with the command that
    makes it.
    """
    from ..export.bundle import read_manifest
    from ..report import Report, ReportInputs, build_report
    from ..runtime.manifest import MANIFEST_NAME

    files = context.files
    state = trained_run(context.run, context.progress)
    search = state.search_result()
    is_predicted = search.predictor_sha256 is not None
    model = predictor(context.run, search.device, current=False) if is_predicted else None
    dataset = measured_for(files, search)
    records = dataset.usable if dataset and model else []
    bundle = newest_bundle(files)
    manifest = read_manifest(bundle) if bundle else None
    scores = current_scores(state)
    inputs = ReportInputs(
        search=search,
        choices=choices(
            search,
            scores,
            prices_elsewhere(context.run, search),
            untrained=[x.arch.key for x in candidates(search) if not is_trained(state, x.arch)],
            error_percent=model.card.mape_percent if model else None,
        ),
        context=dataset.context if dataset else None,
        profile=_profile_of(files, search.device),
        sessions=(
            *(dataset.sessions if dataset else ()),
            *_sessions_of_finalists(files, search),
        ),
        records=tuple(records),
        predicted_ms=_predicted_ms(context, search, model, dataset, records)
        if model and dataset and records
        else (),
        card=model.card if model else None,
        manifest=manifest,
        manifest_sha256=sha256_file(bundle / MANIFEST_NAME) if bundle else None,
        bundle_size_bytes=folder_bytes(bundle) if bundle else None,
        limited_bytes=limited_bytes(bundle) if bundle else None,
        deployments=tuple(readable_deployments(files)),
        scores=scores,
        supernet=state.card,
        noise=told_noise(dataset),
        has_test=read_record(DataCard, files.data_card_path, "mosdeploy train").num_test > 0,
    )
    page = build_report(inputs, context.family.describe_page(search, manifest), files.report_dir)
    return ReportResult(page, read_record(Report, files.report_path, "mosdeploy report"))


def measured_for(files: Workspace, search: SearchResult) -> "LatencyDataset | None":
    """What was measured on the device of a search; None where nothing was."""
    from ..latency.dataset import LatencyDataset

    path = files.latency_path(search.device, search.workload.name)
    return LatencyDataset.load(path) if path.exists() else None


def _profile_of(files: Workspace, device: str) -> DeviceProfile | None:
    """The profile that a device has now; None where it has none any more."""
    with contextlib.suppress(ConfigError):
        return load_profile(device, files.root)
    return None


def _sessions_of_finalists(files: Workspace, search: SearchResult) -> Iterator[SessionRecord]:
    """In which the finalists of searches on this device were measured, as far as they can be read:
    without a profile nothing else tells of the device.
    """
    from ..latency.dataset import LatencyDataset

    names = (search.device, search.workload.name)
    for path in (files.verified_path(*names), files.timed_again_path(*names)):
        with contextlib.suppress(StaleInputError):
            yield from LatencyDataset.load(path).sessions


def told_noise(dataset: "LatencyDataset | None") -> str:
    """Why the times of a profile are not to be trusted, and what to do; empty where they are."""
    if dataset is None or not (noise := excess_noise(dataset)):
        return ""
    command = profile_command(dataset, "--renew")
    return f"{noise}. Stop other programs there, run `{command}`, then search again."


def readable_deployments(files: Workspace) -> Iterator[Deployment]:
    """Those that can be read; one of another version, say, keeps nobody from the others."""
    for path in listed(files.deployments_dir, "*.json"):
        try:
            yield read_record(Deployment, path, "mosdeploy deploy")
        except StaleInputError as error:
            _log.warning("left out: %s", error)


def current_scores(state: TrainedRun) -> ScoreTable | None:
    """Scores of this supernet's subnets on this data, with the weights that they have now, as
    `evaluate` would compute them; earlier ones are not shown.
    """
    path = state.files.scores_path
    if not path.exists():
        return None
    scores = read_record(ScoreTable, path, "mosdeploy evaluate")
    if scores.inputs_sha256 != scored_inputs(state, state.config.workload):
        return None
    subnets = {name: x for name, x in scores.subnets.items() if are_current(state, x)}
    return scores.model_copy(update={"subnets": subnets})


def _predicted_ms(
    context: Context,
    search: SearchResult,
    model: "LatencyPredictor",
    dataset: "LatencyDataset",
    records: Sequence[LatencyRecord],
) -> tuple[float, ...]:
    """What is predicted for the board that measured each record, by the figure of the search's
    limit.
    """
    ratio = tail_ratio(context.run, search.device, search.statistic, current=False)
    predicted_ms = model.predict(model.space.genes([record.arch for record in records])) * ratio
    return tuple((predicted_ms * dataset.time_ratios(records)).tolist())
