"""Time many models on a device, or one that is deployed there."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..errors import CommandError, DeviceTimeoutError
from ..records import Measurement
from ..spaces.spec import TimingStage
from ..storage import sha256_bytes
from .device import Device
from .drift import DriftWatch
from .job import AgentJob, AgentResult
from .on_device.agent import CHECK_TIMEOUT_S, REFERENCE

MIN_POLL_S = 0.2  # shortest and longest wait between two looks at the device: each look disturbs
MAX_POLL_S = 2.0  # the timing a little
OUTPUT_MARGIN_S = 15.0
"""How long beyond a candidate's time-out, or that of its check of the runtime, an agent may print
nothing before it is ended.
"""

MAX_FAILED_STARTS = 3
"""How often the agent is started in a row without a single result."""

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class MeasurementTask:
    """Models that are timed alike, in one job; `build` gives a model, or its path there."""

    job_id: str
    stages: tuple[TimingStage, ...]
    threads: int
    build: Callable[[str], bytes | str]
    weights_bytes: int = 0
    has_reference: bool = True


def ignore(_: object) -> None:
    """Do nothing: the default of a hook."""


@dataclass(frozen=True)
class MeasureHooks:
    """What is called while a device measures."""

    notify: Callable[[str], None] = ignore
    observe: Callable[[AgentResult], None] = ignore
    pause: Callable[[float], None] = time.sleep
    repeat: Callable[[Mapping[str, int]], None] = ignore


NO_HOOKS = MeasureHooks()


def collect(
    device: Device, task: MeasurementTask, keys: Iterable[str], hooks: MeasureHooks = NO_HOOKS
) -> Iterator[tuple[str, Measurement]]:
    """Measure every key, in an order drawn by the agent, with the reference before, between and
    after. The agent is started whenever it has ended before all are accepted.
    """
    unique_keys = tuple(dict.fromkeys(keys))
    for name in (task.job_id, *unique_keys):
        if not _SAFE_NAME.fullmatch(name):
            raise ValueError(f"not a safe file name: {name!r}; use letters, digits, '.', '_', '-'")
    job = AgentJob(device, task.job_id)
    watch = DriftWatch(unique_keys, device.profile.measure, has_reference=task.has_reference)
    models: dict[str, str] = {}  # path on the device by key
    failed_starts = 0
    results: Iterable[AgentResult] = job.results()
    try:
        while True:
            for result in results:
                hooks.observe(result)
                accepted = watch.add(result)
                if accepted or result.key in watch.target_counts:
                    failed_starts = 0
                yield from accepted
            if not watch.target_counts:
                job.kill()  # nothing is left to measure: free the device at once
                break
            if not job.is_running():
                if failed_starts == MAX_FAILED_STARTS:
                    raise CommandError(
                        f"the agent ended {failed_starts} times without a result: {job.log_tail()}"
                    )
                failed_starts += 1
                job.refuse_if_busy()
                _upload(job, task, watch.target_counts, models)
                _tell_repeated(device, watch.target_counts, hooks)
                job.start(
                    models,
                    watch.target_counts,
                    task.stages,
                    threads=task.threads,
                    weights_bytes=task.weights_bytes,
                )
            results = _follow(job, device.profile.measure.candidate_timeout_s, hooks)
    except KeyboardInterrupt:
        job.kill()
        raise
    if unique_keys:
        job.remove("candidates")


def model_task(
    remote_path: str, stages: tuple[TimingStage, ...], threads: int, owner: str = ""
) -> MeasurementTask:
    """Return the task of one model that is on the device already; a copied run folder has the same
    model, perhaps in the same place, and a job of its own.
    """
    name = sha256_bytes(f"{remote_path} {owner}".encode())[:12]
    build: Callable[[str], str] = lambda _: remote_path  # noqa: E731
    return MeasurementTask(f"model-{name}", stages, threads, build, has_reference=False)


def measure_model(device: Device, task: MeasurementTask) -> Measurement:
    """Time a model afresh: an agent that is still at the one before is ended, and what it found is
    removed.
    """
    job = AgentJob(device, task.job_id)
    # once its result is written, an agent is still alive for a moment
    job.kill()
    job.remove("results.jsonl")
    return dict(collect(device, task, ["model"]))["model"]


def free_device(device: Device, task: MeasurementTask) -> None:
    """Make sure that nothing is timed on a device, before a model is tested and timed there; what a
    killed command of the same owner still times of it is ended.
    """
    job = AgentJob(device, task.job_id)
    job.refuse_if_busy()
    job.kill()


def _upload(
    job: AgentJob, task: MeasurementTask, keys: Iterable[str], models: dict[str, str]
) -> None:
    """Send the models that the device lacks, and note the path of each."""
    paths: dict[str, str] = {}  # by digest: the reference may be one of the models
    for key in (*([REFERENCE] if task.has_reference else []), *sorted(keys)):
        if key in models:
            continue
        model = task.build(key)
        if isinstance(model, str):
            models[key] = model
            continue
        digest = sha256_bytes(model)
        if digest not in paths:
            job.add(key, model)
            paths[digest] = f"candidates/{key}.onnx"
        models[key] = paths[digest]


def _tell_repeated(device: Device, target_counts: Mapping[str, int], hooks: MeasureHooks) -> None:
    rounds = device.profile.measure.rounds
    repeated = {key: count for key, count in target_counts.items() if count > rounds}
    if repeated:
        hooks.notify(
            f"{device.board} is not stable, its reference moved or a timing failed: measuring "
            f"{len(repeated)} subnets again"
        )
        hooks.repeat(repeated)


def _follow(
    job: AgentJob, candidate_timeout_s: float, hooks: MeasureHooks
) -> Iterator[AgentResult]:
    """Yield results as they come, until the agent has ended."""
    # it checks the runtime first, which may take longer than a candidate
    max_silence_s = max(candidate_timeout_s, CHECK_TIMEOUT_S) + OUTPUT_MARGIN_S
    last_output = time.monotonic()
    wait_s = MIN_POLL_S
    while True:
        fresh = job.results()
        yield from fresh
        if fresh:
            max_silence_s = candidate_timeout_s + OUTPUT_MARGIN_S
        if fresh or job.has_new_log():
            last_output = time.monotonic()
            wait_s = MIN_POLL_S
        elif not job.is_running():
            failure = job.failure()
            yield from job.results()  # written between the two looks
            if failure:
                raise failure
            return
        elif time.monotonic() - last_output > max_silence_s:
            tail = job.log_tail()
            job.kill()
            raise DeviceTimeoutError(
                f"the agent printed nothing for {max_silence_s:g} s and was ended; the end of its "
                f"log: {tail}; finished measurements are kept: run the same command again"
            )
        hooks.pause(wait_s)
        wait_s = min(wait_s * 1.5, MAX_POLL_S)
