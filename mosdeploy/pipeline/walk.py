"""The whole walk on this machine, with the embedded corpus."""

from dataclasses import dataclass
from pathlib import Path

from ..records import Limits
from ..workspace import Workspace
from .bundle import deploy, export
from .latency import profile
from .page import report
from .run import Progress, init, open_run
from .training import evaluate, train
from .winner import search

DEVICE = "local"
LIMIT_SHARE = 0.5
"""Where between the fastest and the slowest subnet that was measured the demo puts its limit."""


@dataclass(frozen=True)
class DemoOutcome:
    """The table at the end of the demo: what, and its value."""

    rows: tuple[tuple[str, str], ...]


def demo(root: Path, progress: Progress) -> DemoOutcome:
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
    measured = LatencyDataset.load(Path(profile(run, DEVICE, None, ssh_config, progress).path)).usable
    times_ms = [record.measurement.total.median_ms for record in measured if record.measurement.total]
    limit_ms = float(f"{min(times_ms) + LIMIT_SHARE * (max(times_ms) - min(times_ms)):.2g}")
    progress.say(
        f"measured {len(times_ms)} subnets, {min(times_ms):.2f} to {max(times_ms):.2f} ms: limit {limit_ms:g} ms"
    )
    result = search(run, DEVICE, Limits(max_latency_ms=limit_ms), True, ssh_config, progress)
    scores = evaluate(run, ("largest", "smallest", "winner"), None, progress).subnets
    bundle = export(run, "winner", None, None, progress)
    deployment = deploy(run, DEVICE, bundle.path, ssh_config, progress)
    page = report(run)
    total = deployment.measurement.total
    winner = scores["winner"]
    return DemoOutcome(
        (
            ("winner", f"{result.winner.arch.key}  {result.winner.arch}"),
            ("parameters", f"{winner.num_parameters:,}"),
            ("BLEU, chrF", f"{winner.bleu:.1f}, {winner.chrf:.1f}"),
            ("  largest", f"{scores['largest'].bleu:.1f}, {scores['largest'].chrf:.1f}"),
            ("  smallest", f"{scores['smallest'].bleu:.1f}, {scores['smallest'].chrf:.1f}"),
            ("predicted", f"{result.winner.predicted_ms:.2f} ms"),
            ("measured", f"{result.winner.measured_ms:.2f} ms"),
            ("bundle measured", f"{total.median_ms:.2f} ms" if total else "not timed"),
            ("limit", f"{limit_ms:g} ms"),
            ("bundle", str(bundle.path)),
            ("page", str(page)),
        )
    )
