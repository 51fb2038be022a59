"""Whether what is delivered keeps its limit: searches at random limits, each exported, deployed and
timed once more.

    python benchmarks/promise.py --searches 50 --json
    python benchmarks/promise.py --searches 50 --disturbed --json

The folder gets a run folder of the demo's recipe, trained and profiled on this machine, and one
copy of it for each search, so that no search knows what another one measured. The limits are drawn
evenly between the fastest and the slowest subnet that was profiled. Of each search: the latency
that made its winner one, that of the deployment, and that of `mosdeploy verify` afterwards, which
nobody chose by. --disturbed starts a process that takes a core for random moments while all this
runs.

A killed run goes on with the same command.
"""

import argparse
import json
import multiprocessing
import random
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from results import add_result_options, finish
from walk_cells import kept

from mosdeploy import RunFolder, init, open_run
from mosdeploy.errors import InfeasibleError
from mosdeploy.latency.dataset import LatencyDataset
from mosdeploy.record import Record
from mosdeploy.records import SearchResult

HEADER = (
    "machine",
    "limits, ms",
    "kept in the search",
    "as deployed",
    "timed once more",
    "slack, median",
    "loss behind the best",
)
DEVICE = "local"
PACKAGES = ("torch", "onnxruntime", "scikit-learn")
STEPS = 1000
"""Of the supernet: after the demo's 200, larger subnets are no better yet, and no search would use
what a limit allows.
"""
BUSY_S = (0.5, 4.0)
IDLE_S = (2.0, 15.0)


class Trial(Record):
    """One search and what became of it; `deployed_ms` is None where `deploy` refused.

    `measured` holds loss and milliseconds of each finalist.
    """

    limit_ms: float
    winner_ms: float | None
    measured: tuple[tuple[float, float], ...] = ()
    deployed_ms: float | None = None
    deployed_loss: float | None = None
    verified_ms: float | None = None
    error: str | None = None


def main() -> None:
    """Run the trials that are missing, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, default=Path("promise"))
    parser.add_argument("--searches", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--disturbed", action="store_true")
    add_result_options(parser)
    options = parser.parse_args()
    prepared = prepare(options.dir)
    path = prepared.root / "predictors" / f"{DEVICE}-sentence" / "latency.jsonl"
    dataset = LatencyDataset.load(path)
    times = [x.measurement.total.median_ms for x in dataset.usable if x.measurement.total]
    limits = random.Random(options.seed)
    limits_ms = [limits.uniform(min(times), max(times)) for _ in range(options.searches)]
    machine = "disturbed" if options.disturbed else "quiet"
    trials = []
    with disturbance(options.disturbed):
        for number, limit_ms in enumerate(limits_ms):
            cell = options.dir / f"{machine}-{options.seed}" / f"{number}.json"
            trials.append(kept(cell, Trial, partial(run_trial, prepared.root, number, limit_ms)))
            print(trials[-1], file=sys.stderr, flush=True)
    row = [machine, f"{min(times):.2f} to {max(times):.2f}", *figures(trials)]
    finish(options, PACKAGES, HEADER, [row], [options.seed], machine)


def prepare(folder: Path) -> RunFolder:
    """The demo's run folder, trained and profiled; its device is a folder beside it."""
    root = folder.absolute() / "run"
    path = root / "mosdeploy.toml"
    if not path.exists():
        init(root, "tiny", DEVICE)
        path.write_text(path.read_text().replace("steps = 150 ", f"steps = {STEPS} "))
    profile = root / "device_profiles" / f"{DEVICE}.toml"
    profile.parent.mkdir(exist_ok=True)
    work_dir = folder.absolute() / "device"
    profile.write_text(f'name = "{DEVICE}"\nkind = "local"\nwork_dir = "{work_dir}"\n')
    run = open_run(root)
    run.train()
    run.profile(DEVICE)
    run.fit(DEVICE)
    return run


def run_trial(prepared: Path, number: int, limit_ms: float) -> Trial:
    """Search, export, deploy and verify in a fresh copy of the run folder."""
    root = prepared.with_name(f"trial-{number}")
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(prepared, root)
    run = open_run(root)
    limit = f"{limit_ms}ms"
    found: SearchResult | None = None
    facts: dict[str, object] = {}
    try:
        found = run.search(limit, device=DEVICE)
        run.export()
        deployed = run.deploy(DEVICE)
        facts["deployed_ms"] = deployed.measurement.total.median_ms
        arch = json.loads((root / "bundles" / deployed.bundle / "manifest.json").read_text())[
            "arch"
        ]
        facts["deployed_loss"] = next(
            c.loss for c in found.finalists if c.arch.model_dump(mode="json") == arch
        )
        facts["verified_ms"] = run.verify(limit).measurement.total.median_ms
    except InfeasibleError as error:
        facts["error"] = str(error)
    shutil.rmtree(root)
    timed = [c for c in found.finalists if c.measured_ms is not None] if found else []
    return Trial(
        limit_ms=limit_ms,
        winner_ms=found.winner.measured_ms if found else None,
        measured=tuple((c.loss, c.measured_ms) for c in timed),
        **facts,
    )


@contextmanager
def disturbance(wanted: bool) -> Iterator[None]:
    """A process that takes a core for random moments."""
    if not wanted:
        yield
        return
    process = multiprocessing.get_context("spawn").Process(target=take_a_core, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()


def take_a_core() -> None:
    """Be busy for a while, idle for a while, for ever."""
    rng = random.Random(0)
    while True:
        end = time.monotonic() + rng.uniform(*BUSY_S)
        while time.monotonic() < end:
            sum(range(10_000))
        time.sleep(rng.uniform(*IDLE_S))


def figures(trials: list[Trial]) -> list[str]:
    """Count which winners kept their limits, and tell how good they are."""
    searched = [t for t in trials if t.winner_ms is not None]
    deployed = [t for t in trials if t.deployed_ms is not None]
    verified = [t for t in deployed if t.verified_ms is not None]
    measured = [pair for t in trials for pair in t.measured]
    slack, behind = [], []
    for t in deployed:
        slack.append(100 * (1 - t.deployed_ms / t.limit_ms))
        feasible = [loss for loss, ms in measured if ms <= t.limit_ms]
        if feasible:
            behind.append(t.deployed_loss - min(feasible))
    return [
        f"{len(searched)} of {len(trials)}",
        # a bundle that does not keep its limit is not deployed
        f"{sum(t.deployed_ms <= t.limit_ms for t in deployed)} of {len(searched)}",
        f"{sum(t.verified_ms <= t.limit_ms for t in verified)} of {len(verified)}",
        f"{statistics.median(slack):.1f}%",
        f"{statistics.mean(behind):.3f}",
    ]


if __name__ == "__main__":
    main()
