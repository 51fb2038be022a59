"""The whole walk on this machine, with the embedded corpus."""

from pathlib import Path

from ..records import Limits
from ..workspace import Workspace
from .evaluate import evaluate
from .export import deploy, export
from .profile import profile
from .report import report
from .run import Progress, init, open_run
from .search import search
from .summaries import DemoSummary
from .train import train

DEVICE = "local"
LIMIT_SHARE = 0.5
"""Where between the fastest and the slowest subnet that was measured the demo puts its limit."""


def demo(root: Path, progress: Progress) -> DemoSummary:
    """Walk from the corpus to the report; a second call goes on where the first was stopped.

    Raises
    ------
    MosdeployError
        Whatever a verb raises on the way.
    """
    from ..latency.dataset import LatencyDataset

    if not Workspace(root).config_path.exists():
        init(root, "tiny", DEVICE)
    run, ssh_config = open_run(root), Path("~/.ssh/config")
    train(run, progress)
    measured = LatencyDataset.load(
        Path(profile(run, DEVICE, None, ssh_config, progress).path)
    ).usable
    times_ms = [
        record.measurement.total.median_ms for record in measured if record.measurement.total
    ]
    limit_ms = float(f"{min(times_ms) + LIMIT_SHARE * (max(times_ms) - min(times_ms)):.2g}")
    progress.say(
        f"measured {len(times_ms)} subnets, {min(times_ms):.2f} to {max(times_ms):.2f} ms: limit {limit_ms:g} ms"
    )
    result = search(run, DEVICE, Limits(max_latency_ms=limit_ms), True, ssh_config, progress)
    scores = evaluate(run, ("largest", "smallest", "winner"), None, progress)
    bundle = export(run, "winner", None, None, progress)
    deployment = deploy(run, DEVICE, bundle.path, ssh_config, progress)
    page = report(run).page
    return DemoSummary(
        search=result, scores=scores, deployment=deployment, bundle=str(bundle.path), page=str(page)
    )
