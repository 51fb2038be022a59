"""What a latency predictor costs on this machine, reached as a board is: over SSH, through a real
server on loopback.

    python benchmarks/profile_cost.py --threads 1 --rounds 1 --max-time-s 2 --json
    python benchmarks/profile_cost.py --recipe tiny --max-time-s 0.5 --json

Designed subnets are measured without weights, as `mosdeploy profile` does, and predictors are
fitted to the first so many of them; random ones, measured in the same session, test these. Needs
OpenSSH's server and the tests of this repository, which know how to start it.
"""

import argparse
import contextlib
import importlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from results import add_result_options, finish

from mosdeploy.config import load_recipe
from mosdeploy.config.device import DeviceProfile, MeasureProtocol, load_profile
from mosdeploy.devices.connect import LastingSession, open_session
from mosdeploy.devices.device import Device
from mosdeploy.devices.job import AgentResult
from mosdeploy.devices.measure import MeasureHooks, MeasurementTask, collect
from mosdeploy.devices.on_device.agent import REFERENCE
from mosdeploy.devices.session import Session
from mosdeploy.export.candidate import build_candidate, candidate_weights_bytes
from mosdeploy.families.translation import FAMILY
from mosdeploy.latency.calibration import spread_percent
from mosdeploy.latency.fitting import measure_errors
from mosdeploy.latency.predictor import FitFacts, LatencyPredictor
from mosdeploy.latency.regression import choose
from mosdeploy.records import Measurement
from mosdeploy.spaces import ArchConfig, ModelSpec

ROOT = Path(__file__).parents[1]
build_graph = FAMILY.build_graph
PACKAGES = ("numpy", "onnxruntime", "scikit-learn")
DESIGN_SEED = 1
HELD_OUT_SEED = 2
FIT_ON = (10, 20, 30)


@dataclass(frozen=True)
class Loopback:
    """A model to be timed on this machine, which is reached over SSH."""

    spec: ModelSpec
    profile: DeviceProfile
    ssh_config: Path

    def connect(self) -> Session:
        """Open a session."""
        return open_session(self.profile, self.ssh_config)


def say(text: str) -> None:
    """Print a line of progress."""
    print(text, file=sys.stderr, flush=True)


def measure_designed(
    board: Loopback, archs: Sequence[ArchConfig]
) -> tuple[dict[str, Measurement], list[str]]:
    """Measure as `mosdeploy profile` does; return noise floor, seconds and bytes a subnet too."""
    spec = board.spec
    known = {**{arch.key: arch for arch in archs}, REFERENCE: spec.reference_arch()}
    sizes: dict[str, int] = {}
    results: list[AgentResult] = []

    def build(key: str) -> bytes:
        model = build_candidate(spec, known[key], build_graph)
        sizes[key] = len(model)
        return model

    def observe(result: AgentResult) -> None:
        results.append(result)
        say(f"{result.key}: {result.measurement.total or result.measurement.error}")

    begin = time.monotonic()
    task = MeasurementTask(
        job_id="profile-cost",
        stages=spec.timing_stages(),
        threads=spec.workload.threads,
        build=build,
        weights_bytes=candidate_weights_bytes(spec, build_graph),
    )
    keys = [arch.key for arch in archs]
    with LastingSession(board.connect, say) as session:
        found = dict(
            collect(Device(session, board.profile), task, keys, MeasureHooks(say, observe))
        )
    reference_ms = [
        result.measurement.total.median_ms
        for result in results
        if result.key == REFERENCE and result.measurement.total
    ]
    return found, [
        f"{spread_percent(reference_ms):.2f}%",
        f"{(time.monotonic() - begin) / len(keys):.1f}",
        f"{round(np.mean([sizes[key] for key in keys])):,}",
    ]


def predictor_error(
    spec: ModelSpec,
    designed: Sequence[ArchConfig],
    held_out: Sequence[ArchConfig],
    found: dict[str, Measurement],
) -> str:
    """Fit on the designed subnets as `mosdeploy fit` does; return the error on the others."""
    fitted_on, latency_ms = timings(spec, designed, found)
    predictor = LatencyPredictor.fit(spec, fitted_on, latency_ms, facts=FitFacts(device="loopback"))
    judged_on, test_ms = timings(spec, held_out, found)
    return f"{measure_errors(predictor.predict(judged_on), test_ms).mape_percent:.2f}%"


def timings(
    spec: ModelSpec, archs: Sequence[ArchConfig], found: dict[str, Measurement]
) -> tuple[Any, Any]:
    """Return gene rows and milliseconds of the subnets that were timed."""
    timed = [(arch, total.median_ms) for arch in archs if (total := found[arch.key].total)]
    return spec.gene_rows([arch for arch, _ in timed]), np.array([ms for _, ms in timed])


@contextlib.contextmanager
def loopback(spec: ModelSpec, protocol: MeasureProtocol, folder: Path) -> Iterator[Loopback]:
    """Start a server, and stop it afterwards."""
    sys.path.append(str(ROOT / "tests" / "helpers"))
    openssh: Any = importlib.import_module("openssh")
    profile = DeviceProfile(
        name="loopback",
        host="dev",
        python=sys.executable,
        work_dir=str(folder / "device"),
        measure=protocol,
    )
    server = openssh.OpenSSHServer(folder / "sshd", openssh.SSHClientFiles(folder / "client"))
    server.start()
    try:
        yield Loopback(spec, profile, server.files.config)
    finally:
        server.close()


def benchmark(options: argparse.Namespace, folder: Path) -> list[str]:
    """Return a line of the table."""
    spec = load_recipe(options.recipe).spec
    if options.threads:
        spec = spec.with_workload(threads=options.threads)
    designed = choose(spec, max(FIT_ON), DESIGN_SEED)
    rng = np.random.default_rng(HELD_OUT_SEED)
    drawn = dict.fromkeys(spec.space.sample(rng) for _ in range(10 * options.held_out))
    held_out = [arch for arch in drawn if arch not in set(designed)][: options.held_out]
    limits = {
        "rounds": options.rounds,
        "max_time_s": options.max_time_s,
        "candidate_timeout_s": 3600.0,
    }
    protocol = load_profile("local", ROOT).measure.model_copy(update=limits)
    with loopback(spec, protocol, folder) as board:
        found, cost = measure_designed(board, [*designed, *held_out])
    errors = [predictor_error(spec, designed[:size], held_out, found) for size in FIT_ON]
    return [f"`{options.recipe}`", *errors, *cost]


def main() -> None:
    """Measure, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--recipe", default="wmt14.en-de", help="whose space and workload")
    add("--held-out", type=int, default=30, help="random subnets that it is tested on")
    add("--threads", type=int, help="instead of the recipe's")
    add("--rounds", type=int, default=3, help="how often each subnet is timed")
    add("--max-time-s", type=float, default=5.0, help="seconds of repeats a round at most")
    add_result_options(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        row = benchmark(options, Path(folder))
    first, *others = (str(size) for size in FIT_ON)
    header = (
        "space",
        f"error from {first} subnets",
        *others,
        "noise floor",
        "seconds a subnet",
        "bytes uploaded",
    )
    finish(options, PACKAGES, header, [row], [DESIGN_SEED, HELD_OUT_SEED], options.recipe)


if __name__ == "__main__":
    main()
