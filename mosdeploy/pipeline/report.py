"""The verb `report`: read everything, change nothing, write one page."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.device import load_profile
from ..errors import ConfigError, StaleInputError
from ..notebook import HtmlTable
from ..records import DataCard, ScoreTable, SearchResult, SessionRecord
from ..run_folder.bundles import folder_bytes, limited_bytes, newest_bundle, readable_deployments
from ..run_folder.candidates import candidates, choices, device_prices
from ..run_folder.catalog import report_inputs, scored_inputs
from ..run_folder.context import Context
from ..run_folder.predictors import noise_problem, predictor, profile_command, tail_ratio
from ..run_folder.subnets import are_current, is_trained
from ..run_folder.trained_run import TrainedRun, trained_run
from ..runtime.manifest import MANIFEST_NAME
from ..storage import read_record, sha256_file
from ..workspace import Workspace

if TYPE_CHECKING:
    from ..latency.dataset import LatencyDataset
    from ..report import Report


@dataclass(frozen=True)
class ReportResult(HtmlTable):
    """A report that was just written: the page, and the record in `report.json` beside it."""

    page: Path
    report: "Report"


def report(context: Context) -> ReportResult:
    """Write the report of a run folder; it names each missing part with its command."""
    from ..export.bundle import read_manifest
    from ..report import Report, ReportInputs, build_report

    files = context.files
    made_from = report_inputs(files)
    state = trained_run(context.run, context.progress)
    search = state.search_result()
    model = None
    if search.predictor_sha256 is not None:
        model = predictor(context.run, search.device, current=False)
    dataset = _dataset_of(files, search)
    records = dataset.usable if dataset and model else []
    predicted_ms: list[float] = []
    if model and dataset and records:
        ratio = tail_ratio(context.run, search.device, search.statistic, current=False)
        times_ms = model.predict(model.space.genes([record.arch for record in records])) * ratio
        predicted_ms = (times_ms * dataset.time_ratios(records)).tolist()
    profile = None
    with contextlib.suppress(ConfigError):  # it may be gone
        profile = load_profile(search.device, files.root)
    bundle = newest_bundle(files)
    manifest = read_manifest(bundle) if bundle else None
    scores = _current_scores(state)
    sessions = dataset.sessions if dataset else ()
    inputs = ReportInputs(
        search=search,
        choices=choices(
            search,
            scores,
            device_prices(context.run, search),
            untrained=[x.arch.key for x in candidates(search) if not is_trained(state, x.arch)],
            error_percent=model.card.mape_percent if model else None,
        ),
        context=dataset.context if dataset else None,
        profile=profile,
        sessions=(*sessions, *_finalist_sessions(files, search)),
        records=tuple(records),
        predicted_ms=tuple(predicted_ms),
        card=model.card if model else None,
        manifest=manifest,
        manifest_sha256=sha256_file(bundle / MANIFEST_NAME) if bundle else None,
        bundle_size_bytes=folder_bytes(bundle) if bundle else None,
        limited_bytes=limited_bytes(bundle) if bundle else None,
        deployments=tuple(readable_deployments(files)),
        scores=scores,
        supernet=state.card,
        noise=_describe_noise(dataset),
        has_test=read_record(DataCard, files.data_card_path, "mosdeploy train").num_test > 0,
        made_from=made_from,
    )
    page = build_report(inputs, context.family.describe_page(search, manifest), files.report_dir)
    return ReportResult(page, read_record(Report, files.report_path, "mosdeploy report"))


def _dataset_of(files: Workspace, search: SearchResult) -> "LatencyDataset | None":
    from ..latency.dataset import LatencyDataset

    path = files.latency_path(search.device, search.workload.name)
    return LatencyDataset.load(path) if path.exists() else None


def _finalist_sessions(files: Workspace, search: SearchResult) -> Iterator[SessionRecord]:
    """Yield the sessions that timed finalists: without a profile they alone tell of the device."""
    from ..latency.dataset import LatencyDataset

    names = (search.device, search.workload.name)
    for path in (files.verified_path(*names), files.timed_again_path(*names)):
        with contextlib.suppress(StaleInputError):
            yield from LatencyDataset.load(path).sessions


def _describe_noise(dataset: "LatencyDataset | None") -> str:
    """Say why the times of a profile are not to be trusted, and what to do; empty if they are."""
    if dataset is None or not (noise := noise_problem(dataset)):
        return ""
    command = profile_command(dataset, "--renew")
    return f"{noise}. Stop other programs there, run `{command}`, then search again."


def _current_scores(state: TrainedRun) -> ScoreTable | None:
    """Return the scores that `evaluate` would compute now; earlier ones are not shown."""
    path = state.files.scores_path
    if not path.exists():
        return None
    scores = read_record(ScoreTable, path, "mosdeploy evaluate")
    if scores.inputs_sha256 != scored_inputs(state, state.config.workload):
        return None
    subnets = {name: x for name, x in scores.subnets.items() if are_current(state, x)}
    return scores.model_copy(update={"subnets": subnets})
