"""What a latency predictor costs on this machine, reached as a board is: over SSH, through a real
server on loopback.

    python benchmarks/profile_cost.py --json                                 # HAT's WMT space as
    its recipe has it python benchmarks/profile_cost.py --recipe tiny --designed 10 --held-out 5
    --ordinary 1 --ordinary-repeats 20

Designed subnets are measured without weights, as `mosdeploy profile` does, and predictors are
fitted to the first so many of them; random ones, measured in the same session, test these. Beside
it the ordinary way, for as many subnets as `--ordinary` says: the whole model is uploaded, and
timed a fixed number of times. Needs OpenSSH's server and the tests of this repository, which know
how to start it. Writes profile_cost-RECIPE.json beside this script.
"""

import argparse
import importlib.metadata
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto

from mosdeploy.config.device import DeviceProfile, load_profile
from mosdeploy.config.translation import RunConfig
from mosdeploy.devices.connect import LastingSession, open_session
from mosdeploy.devices.job import AgentResult
from mosdeploy.devices.measure import collect, measure_model
from mosdeploy.devices.on_device.agent import REFERENCE
from mosdeploy.devices.session import Session
from mosdeploy.export.candidate import build_candidate, candidate_weights_bytes
from mosdeploy.export.onnx.initializers import DeviceContext, TensorSpec
from mosdeploy.families.translation.onnx_graph import build_graph
from mosdeploy.latency.calibration import spread_percent
from mosdeploy.latency.dataset import LatencyDataset, Samples
from mosdeploy.latency.design import choose
from mosdeploy.latency.fitting import measure_errors
from mosdeploy.latency.predictor import LatencyPredictor
from mosdeploy.pipeline.collect import reference_arch
from mosdeploy.record import load_toml
from mosdeploy.records import LatencyContext, LatencyRecord, Measurement
from mosdeploy.spaces.costs import num_parameters
from mosdeploy.spaces.translation import TranslationArch, TranslationSpace, TranslationWorkload
from mosdeploy.storage import fingerprint

ROOT = Path(__file__).parents[1]
LENGTH_PENALTY = 0.6


class RandomWeights:
    """Weights as a trained subnet holds them, inside the model."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def tensors(self, specs: Sequence[TensorSpec], compute: DeviceContext) -> list[TensorProto]:
        """Draw float32 values; what is quantized gets bytes."""
        return [self._draw(spec) for spec in specs]

    def _draw(self, spec: TensorSpec) -> TensorProto:
        if spec.onnx_type == TensorProto.FLOAT:
            data = (
                self._rng.random(spec.num_bytes // 4, dtype=np.float32) - np.float32(0.5)
            ) * np.float32(0.1)
        else:
            data = self._rng.integers(0, 255, spec.num_bytes, dtype=np.uint8)
        return TensorProto(
            name=spec.name, dims=spec.shape, data_type=spec.onnx_type, raw_data=data.tobytes()
        )


def measure_designed(
    connect: Callable[[], Session],
    profile: DeviceProfile,
    config: RunConfig,
    archs: dict[str, TranslationArch],
) -> tuple[dict[str, Measurement], dict[str, Any]]:
    """Measure as `mosdeploy profile` does; the measurements, and what they cost."""
    space, workload, vocab_size = config.space, config.workload, config.corpus.vocab_size
    known = {**archs, REFERENCE: reference_arch(space, workload, vocab_size)}
    sizes: dict[str, int] = {}
    references: dict[str, float] = {}
    num_results = 0

    def build(key: str) -> bytes:
        model = build_candidate(known[key], space, vocab_size, workload)
        sizes[key] = len(model)
        return model

    def observe(result: AgentResult) -> None:
        nonlocal num_results
        num_results += result.key != REFERENCE
        if result.key == REFERENCE and result.measurement.total:
            references[result.measured_at] = result.measurement.total.median_ms
        print(
            f"{result.key}: {result.measurement.total or result.measurement.error}", file=sys.stderr
        )

    def say(message: str) -> None:
        print(message, file=sys.stderr)

    begin = time.monotonic()
    weights_bytes = candidate_weights_bytes(space, vocab_size, workload)
    job = (profile, workload, vocab_size, "profile-cost", list(archs), build, weights_bytes)
    with LastingSession(connect, say) as session:
        found = dict(collect(session, *job, say, observe))
    timings = [measurement.total for measurement in found.values() if measurement.total]
    return found, {
        "bytes_uploaded_a_candidate": round(np.mean([sizes[key] for key in archs])),
        "seconds_a_candidate": round((time.monotonic() - begin) / len(archs), 2),
        "repeats_median": float(np.median([timing.repeats for timing in timings])),
        "rounds": profile.measure.rounds,
        "measured_again": num_results - len(archs) * profile.measure.rounds,
        "flagged": sum(measurement.flagged for measurement in found.values()),
        "failed": len(archs) - len(timings),
        "references": len(references),
        "noise_floor_percent": round(spread_percent(list(references.values())), 2),
    }


def measure_ordinary(
    connect: Callable[[], Session],
    profile: DeviceProfile,
    config: RunConfig,
    archs: dict[str, TranslationArch],
    ours: dict[str, Measurement],
    folder: Path,
) -> dict[str, Any]:
    """Upload whole models and time each a fixed number of times."""
    space, workload = config.space, config.workload
    sizes, seconds, differences = [], [], []
    for key, arch in archs.items():
        path = folder / "model.onnx"
        path.write_bytes(whole_model(arch, space, config.corpus.vocab_size, workload))
        sizes.append(path.stat().st_size)
        begin = time.monotonic()
        with connect() as session:
            remote_path = f"{profile.work_dir}/ordinary/{key}.onnx"
            session.put(path, remote_path)
            measurement = measure_model(
                session, profile, workload, config.corpus.vocab_size, remote_path
            )
            session.run(["rm", remote_path])
        seconds.append(time.monotonic() - begin)
        mine = ours[key].total
        if measurement.total and mine:
            differences.append(100 * (mine.median_ms / measurement.total.median_ms - 1))
        print(f"{key}, the ordinary way: {measurement.total or measurement.error}", file=sys.stderr)
    return {
        "subnets": len(archs),
        "repeats": profile.measure.max_repeats,
        "bytes_uploaded_a_candidate": round(np.mean(sizes)),
        "seconds_a_candidate": round(float(np.mean(seconds)), 2),
        "ours_differs_by_percent": [round(difference, 2) for difference in differences],
    }


def whole_model(
    arch: TranslationArch, space: TranslationSpace, vocab_size: int, workload: TranslationWorkload
) -> bytes:
    return build_graph(
        arch,
        space,
        vocab_size,
        RandomWeights(),
        beam=workload.beam,
        length_penalty=LENGTH_PENALTY,
        precision=workload.precision,
        max_positions=max(workload.source_len, workload.decode_steps),
    ).SerializeToString()


def predictor_errors(
    config: RunConfig,
    profile: DeviceProfile,
    designed: list[TranslationArch],
    held_out: list[TranslationArch],
    found: dict[str, Measurement],
    folder: Path,
) -> dict[str, Any]:
    """Fit on the designed subnets as `mosdeploy fit` does, and judge on the others."""
    context = LatencyContext(
        dataset_id=folder.name,
        device=profile,
        workload=config.workload,
        space_sha256=fingerprint(config.space),
        vocab_size=config.corpus.vocab_size,
    )

    def samples(name: str, archs: list[TranslationArch]) -> tuple[LatencyDataset, Samples]:
        dataset = LatencyDataset.open(folder / name / "latency.jsonl", context)
        for arch in archs:
            facts = {
                "runtime": f"onnxruntime {onnxruntime.__version__}",
                "measured_at": "",
                "session": name,
            }
            dataset.append(LatencyRecord(arch=arch, measurement=found[arch.key], **facts))
        return dataset, dataset.samples(config.space)

    (dataset, fitted_on), (_, judged_on) = (
        samples("designed", designed),
        samples("held_out", held_out),
    )
    model = LatencyPredictor.fit_dataset(config.space, dataset)
    test_ms = judged_on.latency_ms
    errors = vars(measure_errors(model.predict(judged_on.genes), test_ms))
    return {
        "designed": len(fitted_on.genes),
        "held_out": len(test_ms),
        "latency_ms": [round(float(test_ms.min()), 2), round(float(test_ms.max()), 2)],
        **{name: round(float(value), 3) for name, value in errors.items()},
    }


def benchmark(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures of one run."""
    sys.path.append(str(ROOT / "tests"))
    from openssh import OpenSSHServer, SSHClientFiles

    config = load_toml(RunConfig, ROOT / "mosdeploy" / "recipes" / f"{options.recipe}.toml")
    given = {"beam": options.beam, "threads": options.threads}
    workload = config.workload.model_copy(
        update={name: value for name, value in given.items() if value}
    )
    config = config.model_copy(update={"workload": workload})
    designed = choose(config.space, workload, config.corpus.vocab_size, options.designed, seed=1)
    rng = np.random.default_rng(2)
    drawn = dict.fromkeys(config.space.sample(rng) for _ in range(10 * options.held_out))
    held_out = [arch for arch in drawn if arch not in set(designed)][: options.held_out]
    limits = {
        "rounds": options.rounds,
        "max_time_s": options.max_time_s,
        "candidate_timeout_s": 3600.0,
    }
    protocol = load_profile("local", ROOT).measure.model_copy(update=limits)
    profile = DeviceProfile(
        name="loopback",
        host="dev",
        python=sys.executable,
        work_dir=str(folder / "device"),
        measure=protocol,
    )
    server = OpenSSHServer(folder / "sshd", SSHClientFiles(folder / "client"))
    server.start()
    try:

        def connect() -> Session:
            return open_session(profile, server.files.config)

        found, cost = measure_designed(
            connect, profile, config, {arch.key: arch for arch in [*designed, *held_out]}
        )
        fixed = {
            "rounds": 1,
            "min_repeats": options.ordinary_repeats,
            "max_repeats": options.ordinary_repeats,
        }
        ordinary_profile = profile.model_copy(update={"measure": protocol.model_copy(update=fixed)})
        archs = {arch.key: arch for arch in held_out[: options.ordinary]}
        ordinary = (
            measure_ordinary(connect, ordinary_profile, config, archs, found, folder)
            if archs
            else None
        )
    finally:
        server.close()

    def errors(size: int) -> dict[str, Any]:
        return predictor_errors(
            config, profile, designed[:size], held_out, found, folder / f"from-{size}"
        )

    parameters = [
        num_parameters(config.space, arch, config.corpus.vocab_size)
        for arch in [*designed, *held_out]
    ]
    return {
        "command": f"python benchmarks/profile_cost.py {' '.join(sys.argv[1:])}",
        "seeds": {"designed": 1, "held_out": 2},
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("numpy", "onnxruntime", "scikit-learn")
        },
        "recipe": options.recipe,
        "workload": workload.model_dump(),
        "fp32_bytes_a_candidate": round(4 * float(np.mean(parameters))),
        "profile": cost,
        **{
            f"predictor from {size}": errors(size)
            for size in sorted({*options.fit_on, len(designed)})
        },
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
        "--effort-s",
        type=float,
        default=5.0,
        help="seconds of repeats a round_, once there are ten",
    )
    parser.add_argument(
        "--ordinary", type=int, default=3, help="held-out subnets to measure the ordinary way too"
    )
    parser.add_argument(
        "--ordinary-repeats", type=int, default=300, help="how often each (at least 10)"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object and nothing else"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = benchmark(options, Path(folder))
    (ROOT / "benchmarks" / f"profile_cost-{options.recipe}.json").write_text(
        json.dumps(figures, indent=1) + "\n"
    )
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        rows = value.items() if isinstance(value, dict) else [("", value)]
        for key, figure in rows:
            print(f"{name} {key}".strip().ljust(40), figure)


if __name__ == "__main__":
    main()
