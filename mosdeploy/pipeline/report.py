"""The verb that reads everything and changes nothing: report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..records import Deployment, LatencyRecord, ScoreTable
from ..storage import read_record
from .export import folder_bytes, newest_bundle
from .predictors import predictor
from .run import Run
from .train import trained

if TYPE_CHECKING:
    from ..latency.dataset import LatencyDataset
    from ..latency.predictor import LatencyPredictor
    from ..report import Report


@dataclass(frozen=True)
class ReportResult:
    """A report that was just written: the page, and what `report.json` beside it holds."""

    page: Path
    report: "Report"


def report(run: Run) -> ReportResult:
    """Write the report of a run folder; what is missing is named there, with the command that makes
    it.

    Raises
    ------
    StaleInputError
        If there is no search result, or a record is corrupt.
    """
    from ..export.bundle import read_manifest
    from ..latency.dataset import LatencyDataset
    from ..latency.sessions import read_sessions
    from ..report import Report, ReportInputs, build_report

    files = run.workspace
    state = trained(run)
    search = state.search_result()
    model = predictor(run, search.device) if search.predictor_sha256 else None
    path = files.latency_path(search.device, search.workload.name)
    dataset = LatencyDataset.load(path) if path.exists() else None
    records = dataset.usable if dataset and model else []
    bundle = newest_bundle(run.workspace.root)
    scores = (
        read_record(ScoreTable, files.scores_path, "mosdeploy evaluate")
        if files.scores_path.exists()
        else None
    )
    inputs = ReportInputs(
        search=search,
        context=dataset.context if dataset else None,
        sessions=read_sessions(path),
        records=tuple(records),
        predicted_ms=_predicted_ms(run, model, dataset, records) if model and dataset else (),
        card=model.card if model else None,
        manifest=read_manifest(bundle) if bundle else None,
        bundle_size_bytes=folder_bytes(bundle) if bundle else None,
        deployments=tuple(
            read_record(Deployment, x, "mosdeploy deploy")
            for x in sorted(files.deployments_dir.glob("*.json"))
        ),
        scores=scores if scores and scores.supernet_sha256 == state.card.supernet_sha256 else None,
        supernet=state.card,
    )
    page = build_report(inputs, files.report_dir)
    return ReportResult(
        page, read_record(Report, page.with_name("report.json"), "mosdeploy report")
    )


def _predicted_ms(
    run: Run, model: "LatencyPredictor", dataset: "LatencyDataset", records: Sequence[LatencyRecord]
) -> tuple[float, ...]:
    """What is predicted for the board that measured each record: the predictor speaks of the middle
    one of a fleet.
    """
    predicted_ms = model.predict(run.config.space.genes([record.arch for record in records]))
    return tuple((predicted_ms * dataset.time_ratios(records)).tolist())
