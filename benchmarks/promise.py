"""Whether what is delivered keeps its limit: searches at random limits, each exported, deployed and
timed once more.

    python benchmarks/promise.py [--dir promise] [--searches 50] [--seed 0] [--disturbed] [--json]

The folder gets a run folder of the demo's recipe, trained and profiled on this machine, and one
copy of it for each search, so that no search knows what another one measured. The limits are drawn
evenly between the fastest and the slowest subnet that was profiled. Of each search: the latency
that made its winner one, that of the deployment, and that of `mosdeploy verify` afterwards, which
nobody chose by. --disturbed starts a process that takes a core for random moments while all this
runs.

A killed run goes on with the same command. --json writes the result to promise.json (or
promise-disturbed.json) beside this script; the table is printed.
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
from pathlib import Path

from provenance import command, versions

from mosdeploy import RunFolder, init, open_run
from mosdeploy.errors import InfeasibleError
from mosdeploy.latency.dataset import LatencyDataset
from mosdeploy.latency.sessions import read_sessions
from mosdeploy.record import Record, parse
from mosdeploy.records import SearchResult
from mosdeploy.storage import append_line, read_lines, write_record

HERE = Path(__file__).parent
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

    number: int
    limit_ms: float
    search_seconds: float
    winner_ms: float | None
    winner_loss: float | None
    measured: tuple[tuple[float, float], ...] = ()
    deployed_ms: float | None = None
    deployed_loss: float | None = None
    verified_ms: float | None = None
    error: str | None = None


class Outcome(Record):
    """What promise.json holds."""

    command: str
    versions: dict[str, str]
    cpu: str | None
    fastest_ms: float
    slowest_ms: float
    trials: tuple[Trial, ...]


def main() -> None:
    """Run the trials that are missing; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, default=Path("promise"))
    parser.add_argument("--searches", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--disturbed", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    prepared = prepare(options.dir)
    path = prepared.root / "predictors" / f"{DEVICE}-sentence" / "latency.jsonl"
    dataset = LatencyDataset.load(path)
    times = [x.measurement.total.median_ms for x in dataset.usable if x.measurement.total]
    limits = random.Random(options.seed)
    limits_ms = [limits.uniform(min(times), max(times)) for _ in range(options.searches)]
    name = "promise-disturbed" if options.disturbed else "promise"
    kept = options.dir / f"{name}-{options.seed}.jsonl"
    known = (parse(Trial, json.loads(row), str(kept)) for row in read_lines(kept)[0])
    done = {trial.number: trial for trial in known}
    with disturbance(options.disturbed):
        for number, limit_ms in enumerate(limits_ms):
            if number not in done:
                done[number] = run_trial(prepared.root, number, limit_ms)
                append_line(kept, done[number])
            print(line(done[number]), file=sys.stderr, flush=True)
    outcome = Outcome(
        command=command(),
        versions=versions(PACKAGES),
        cpu=read_sessions(path)[-1].state.cpu_model,
        fastest_ms=min(times),
        slowest_ms=max(times),
        trials=tuple(done[number] for number in range(options.searches)),
    )
    if options.json:
        write_record(HERE / f"{name}.json", outcome)
    print("\n".join(table(outcome)))


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
    start = time.perf_counter()
    found: SearchResult | None = None
    facts: dict[str, object] = {}
    try:
        found = run.search(limit, device=DEVICE)
        facts["search_seconds"] = time.perf_counter() - start
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
    facts.setdefault("search_seconds", time.perf_counter() - start)
    shutil.rmtree(root)
    timed = [c for c in found.finalists if c.measured_ms is not None] if found else []
    return Trial(
        number=number,
        limit_ms=limit_ms,
        winner_ms=found.winner.measured_ms if found else None,
        winner_loss=found.winner.loss if found else None,
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


def line(trial: Trial) -> str:
    """One trial, for whoever waits."""
    return (
        f"{trial.number}: limit {trial.limit_ms:.3f} ms, winner {trial.winner_ms}, deployed "
        f"{trial.deployed_ms}, verified {trial.verified_ms} {trial.error or ''}"
    )


def table(outcome: Outcome) -> list[str]:
    """Rows of the table that the docs quote."""
    trials = outcome.trials
    searched = [t for t in trials if t.winner_ms is not None]
    deployed = [t for t in trials if t.deployed_ms is not None]
    slack = [100 * (1 - t.deployed_ms / t.limit_ms) for t in deployed]
    ever = [pair for t in trials for pair in t.measured]
    behind = [
        t.deployed_loss - min(loss for loss, ms in ever if ms <= t.limit_ms)
        for t in deployed
        if any(ms <= t.limit_ms for _, ms in ever)
    ]
    verified = [t for t in deployed if t.verified_ms is not None]
    over = [100 * (t.verified_ms / t.limit_ms - 1) for t in verified]

    def share(of: list[Trial], kept: list[bool]) -> str:
        return f"{sum(kept)} of {len(of)}"

    rows = [
        ("CPU", str(outcome.cpu)),
        ("limits", f"{outcome.fastest_ms:.2f} to {outcome.slowest_ms:.2f} ms"),
        (
            "kept as measured in the search",
            share(trials, [t.winner_ms is not None for t in trials]),
        ),
        (
            "kept as deployed, of those with a winner",  # what does not keep it is not deployed
            share(searched, [t.deployed_ms <= t.limit_ms for t in deployed]),
        ),
        ("kept as timed once more", share(verified, [x <= 0 for x in over])),
        ("worst excess when timed once more", f"{max(0.0, *over):.1f}%"),
        (
            "slack as deployed, median and worst",
            f"{statistics.median(slack):.1f}%, {max(slack):.1f}%",
        ),
        (
            "loss behind the best ever measured",
            f"{statistics.mean(behind):.3f} mean, {max(behind):.3f} worst",
        ),
        ("seconds a search, median", f"{statistics.median(t.search_seconds for t in trials):.1f}"),
    ]
    return [f"| {name} | {value} |" for name, value in rows]


if __name__ == "__main__":
    main()
