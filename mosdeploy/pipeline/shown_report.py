"""Whether the report that was written shows what a run folder holds."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import MosdeployError
from ..record import Record, read_json
from ..records import SearchResult
from ..run_folder.bundles import newest_bundle
from ..run_folder.context import Context
from ..run_folder.predictors import RUNTIME, has_measurements, tail_ratio
from ..run_folder.run import Run
from ..run_folder.subnets import is_trained
from ..run_folder.trained_run import TrainedRun
from ..storage import read_record
from .choices import candidates
from .report import current_scores, measured_for, readable_deployments, told_noise


def changed_since(context: Context, trained: Callable[[], TrainedRun]) -> list[str]:
    """What `report.json` holds otherwise than it is now, whenever either was written; that it was
    written again as it was does not matter.
    """
    from ..export.bundle import read_manifest

    files = context.files
    shown = read_json(files.report_path)
    bundle = newest_bundle(files)
    result = read_record(SearchResult, files.search_result_path, "mosdeploy search")
    noise = told_noise(measured_for(files, result))
    now: dict[str, Any] = {
        "search": _as_json(result),
        "deployments": [_as_json(x) for x in readable_deployments(files)],
        "scores": _as_json(current_scores(trained())),
        "bundle": _as_json(read_manifest(bundle) if bundle else None),
    }
    changed = [name for name, x in now.items() if shown.get(name) != x]
    if shown.get("headline", {}).get("noise", "") != noise:
        changed.append("profile")
    if "search" in changed:
        return changed  # the choices of another one differ anyway
    choices = _changed_choices(context.run, trained(), result, shown.get("choices"))
    if "profile" in changed:  # which makes a predictor
        choices = (name for name in choices if name != "predictor")
    return [*changed, *choices]


def _changed_choices(
    run: Run, state: TrainedRun, search: SearchResult, choices: Any
) -> Iterator[str]:
    """What would be proposed otherwise, or priced by another predictor, for candidates of a search
    than `choices` of a report say.
    """
    try:
        found = zip(candidates(search), choices, strict=True)
        proposed = [(x.arch, y.get("finetune_command")) for x, y in found if y["command"]]
        errors = {x["device"]: x["error_percent"] for x in choices[0]["latencies"]}
    except (KeyError, IndexError, TypeError, ValueError):
        yield "version of mosdeploy"
        return
    if any((command is None) is not is_trained(state, arch) for arch, command in proposed):
        yield "finetune"
    # that of the search may have a predictor that lies elsewhere
    own = {name: x for name, x in errors.items() if name == search.device}
    if errors != own | dict(_errors_percent(run, search)):
        yield "predictor"


def _errors_percent(run: Run, search: SearchResult) -> Iterator[tuple[str, float]]:
    """The mean error of each predictor in the folder that a page can price the front with."""
    from ..latency.predictor import LatencyPredictor

    for device in run.devices_with_latencies():
        # one that does not suit, a page leaves out
        with contextlib.suppress(MosdeployError):
            path = run.workspace.predictor_path(device, run.config.workload.name)
            found = LatencyPredictor.load(path)
            found.check(run.config.spec, device, RUNTIME if has_measurements(run, device) else None)
            tail_ratio(run, device, search.statistic, current=False)
            yield device, found.card.mape_percent


def _as_json(record: Record | None) -> Any:
    return record and record.model_dump(mode="json")
