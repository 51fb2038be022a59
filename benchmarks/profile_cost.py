"""What a latency predictor costs on this machine, reached as a board is: over SSH, through a real
server on loopback.

    python benchmarks/profile_cost.py --json            # HAT's WMT space as its recipe has it
    python benchmarks/profile_cost.py --recipe tiny --designed 10 --held-out 5 --ordinary 1

Designed subnets are measured without weights, as `mosdeploy profile` does, and predictors are
fitted to the first so many of them; random ones, measured in the same session, test these. Beside
it the ordinary way, for as many subnets as `--ordinary` says: the whole model is uploaded, and
timed a fixed number of times. Needs OpenSSH's server and the tests of this repository, which know
how to start it. Writes profile_cost-RECIPE.json beside this script.
"""

import argparse
import contextlib
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from provenance import command, versions
from speed_report import say

from mosdeploy.config import load_recipe
from mosdeploy.config.device import DeviceProfile, MeasureProtocol, load_profile
from mosdeploy.config.sections import SupernetConfig
from mosdeploy.devices.connect import LastingSession, open_session
from mosdeploy.devices.device import Device
from mosdeploy.devices.job import AgentResult
from mosdeploy.devices.measure import (
    MeasureHooks,
    MeasurementTask,
    collect,
    measure_model,
    model_task,
)
from mosdeploy.devices.on_device.agent import REFERENCE
from mosdeploy.devices.session import Session
from mosdeploy.export.candidate import build_candidate, candidate_weights_bytes
from mosdeploy.export.onnx.builder import state_arrays
from mosdeploy.families.translation import FAMILY
from mosdeploy.latency.calibration import spread_percent
from mosdeploy.latency.dataset import LatencyDataset, Samples
from mosdeploy.latency.design import choose
from mosdeploy.latency.fitting import measure_errors
from mosdeploy.latency.predictor import LatencyPredictor
from mosdeploy.records import LatencyContext, LatencyRecord, Measurement
from mosdeploy.spaces import ArchConfig, ModelSpec
from mosdeploy.storage import fingerprint

ROOT = Path(__file__).parents[1]
build_graph = FAMILY.build_graph
PACKAGES = ("numpy", "onnxruntime", "scikit-learn")
DESIGN_SEED = 1
HELD_OUT_SEED = 2


@dataclass(frozen=True)
class Loopback:
    """A model to be timed on this machine, which is reached over SSH."""

    spec: ModelSpec
    profile: DeviceProfile
    ssh_config: Path

    def connect(self) -> Session:
        """Open a session."""
        return open_session(self.profile, self.ssh_config)

    def with_protocol(self, **changes: object) -> "Loopback":
        """The same, timed in another way."""
        measure = self.profile.measure.model_copy(update=changes)
        return replace(self, profile=self.profile.model_copy(update={"measure": measure}))


def measure_designed(
    board: Loopback, archs: Sequence[ArchConfig]
) -> tuple[dict[str, Measurement], dict[str, Any]]:
    """Measure as `mosdeploy profile` does; the measurements, and what they cost."""
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
    timings = [measurement.total for measurement in found.values() if measurement.total]
    reference_ms = {
        result.measured_at: result.measurement.total.median_ms
        for result in results
        if result.key == REFERENCE and result.measurement.total
    }
    rounds = board.profile.measure.rounds
    num_results = sum(result.key != REFERENCE for result in results)
    return found, {
        "bytes_uploaded_a_candidate": round(np.mean([sizes[key] for key in keys])),
        "seconds_a_candidate": round((time.monotonic() - begin) / len(keys), 2),
        "repeats_median": float(np.median([timing.repeats for timing in timings])),
        "rounds": rounds,
        "measured_again": num_results - len(keys) * rounds,
        "flagged": sum(measurement.flagged for measurement in found.values()),
        "failed": len(keys) - len(timings),
        "references": len(reference_ms),
        "noise_floor_percent": round(spread_percent(list(reference_ms.values())), 2),
    }


def measure_ordinary(
    board: Loopback, archs: Sequence[ArchConfig], ours: dict[str, Measurement], folder: Path
) -> dict[str, Any]:
    """Upload whole models and time each a fixed number of times."""
    spec = board.spec
    sizes: list[int] = []
    seconds: list[float] = []
    differences: list[float] = []
    for arch in archs:
        path = folder / "model.onnx"
        path.write_bytes(whole_model(spec, arch))
        sizes.append(path.stat().st_size)
        begin = time.monotonic()
        remote_path = f"{board.profile.work_dir}/ordinary/{arch.key}.onnx"
        task = model_task(remote_path, spec.timing_stages(), spec.workload.threads)
        with board.connect() as session:
            session.put(path, remote_path)
            measurement = measure_model(Device(session, board.profile), task)
            session.run(["rm", remote_path])
        seconds.append(time.monotonic() - begin)
        mine = ours[arch.key].total
        if measurement.total and mine:
            differences.append(100 * (mine.median_ms / measurement.total.median_ms - 1))
        say(f"{arch.key}, the ordinary way: {measurement.total or measurement.error}")
    return {
        "subnets": len(archs),
        "repeats": board.profile.measure.max_repeats,
        "bytes_uploaded_a_candidate": round(np.mean(sizes)),
        "seconds_a_candidate": round(float(np.mean(seconds)), 2),
        "ours_differs_by_percent": [round(difference, 2) for difference in differences],
    }


def whole_model(spec: ModelSpec, arch: ArchConfig) -> bytes:
    """The model with its weights inside, as they are before training."""
    subnet = FAMILY.fresh_subnet(arch, spec.space, spec.vocab_size, SupernetConfig(), seed=0)
    return bytes(build_graph(spec, arch, state_arrays(subnet.state_dict())).SerializeToString())


def predictor_errors(
    board: Loopback,
    designed: Sequence[ArchConfig],
    held_out: Sequence[ArchConfig],
    found: dict[str, Measurement],
    folder: Path,
) -> dict[str, Any]:
    """Fit on the designed subnets as `mosdeploy fit` does, and judge on the others."""
    spec = board.spec
    context = LatencyContext(
        dataset_id=folder.name,
        device=board.profile,
        workload=spec.workload,
        space_sha256=fingerprint(spec.space),
        vocab_size=spec.vocab_size,
    )

    def samples(name: str, archs: Sequence[ArchConfig]) -> tuple[LatencyDataset, Samples]:
        dataset = LatencyDataset.open(folder / name / "latency.jsonl", context)
        for arch in archs:
            record = LatencyRecord(
                arch=arch,
                measurement=found[arch.key],
                runtime=f"onnxruntime {onnxruntime.__version__}",
                measured_at="",
                session=name,
            )
            dataset.append(record)
        return dataset, dataset.samples(spec.space)

    dataset, fitted_on = samples("designed", designed)
    _, judged_on = samples("held_out", held_out)
    model = LatencyPredictor.fit_dataset(spec.space, dataset)
    test_ms = judged_on.latency_ms
    errors = vars(measure_errors(model.predict(judged_on.genes), test_ms))
    return {
        "designed": len(fitted_on.genes),
        "held_out": len(test_ms),
        "latency_ms": [round(float(test_ms.min()), 2), round(float(test_ms.max()), 2)],
        **{name: round(float(value), 3) for name, value in errors.items()},
    }


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


def benchmark(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures of one run."""
    given = {"beam": options.beam, "threads": options.threads}
    spec = load_recipe(options.recipe).spec.with_workload(
        **{name: value for name, value in given.items() if value}
    )
    designed = choose(spec, options.designed, DESIGN_SEED)
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
        repeats = options.ordinary_repeats
        fixed = board.with_protocol(rounds=1, min_repeats=repeats, max_repeats=repeats)
        archs = held_out[: options.ordinary]
        ordinary = measure_ordinary(fixed, archs, found, folder) if archs else None
    predictors = {
        f"predictor from {size}": predictor_errors(
            board, designed[:size], held_out, found, folder / f"from-{size}"
        )
        for size in sorted({*options.fit_on, len(designed)})
    }
    parameters = [spec.num_parameters(arch) for arch in [*designed, *held_out]]
    return {
        "command": command(),
        "seeds": {"designed": DESIGN_SEED, "held_out": HELD_OUT_SEED},
        "versions": versions(PACKAGES),
        "recipe": options.recipe,
        "workload": spec.workload.model_dump(),
        "fp32_bytes_a_candidate": round(4 * float(np.mean(parameters))),
        "profile": cost,
        **predictors,
        "ordinary": ordinary,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What a latency predictor costs over SSH.")
    parser.add_argument("--recipe", default="wmt14.en-de", help="whose space and workload")
    parser.add_argument("--designed", type=int, default=50, help="designed subnets to measure")
    parser.add_argument(
        "--fit-on",
        type=int,
        nargs="*",
        default=[10, 20, 30],
        help="fit predictors also on the first so many",
    )
    parser.add_argument(
        "--held-out", type=int, default=30, help="random subnets that it is tested on"
    )
    parser.add_argument(
        "--beam", type=int, help="instead of the recipe's; a smaller one is sooner over"
    )
    parser.add_argument("--threads", type=int, help="instead of the recipe's")
    parser.add_argument("--rounds", type=int, default=3, help="how often each subnet is timed")
    parser.add_argument(
        "--max-time-s",
        type=float,
        default=5.0,
        help="seconds of repeats a round, once there are ten",
    )
    parser.add_argument(
        "--ordinary", type=int, default=3, help="held-out subnets to measure the ordinary way too"
    )
    parser.add_argument(
        "--ordinary-repeats", type=int, default=300, help="how often each (at least 10)"
    )
    parser.add_argument(
        "--out", type=Path, help="where the result goes; default: beside this script"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object and nothing else"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = benchmark(options, Path(folder))
    out = options.out or ROOT / "benchmarks" / f"profile_cost-{options.recipe}.json"
    out.write_text(json.dumps(figures, indent=1) + "\n")
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        rows = value.items() if isinstance(value, dict) else [("", value)]
        for key, figure in rows:
            print(f"{name} {key}".strip().ljust(40), figure)


if __name__ == "__main__":
    main()
