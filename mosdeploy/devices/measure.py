"""Measure many subnets on a device, or one deployed model, and lose nothing on the way.

In: keys and a function that builds a key's ONNX model. Out: one `Measurement` a key. The agent on
the device measures and keeps the results; the host only reads them, so that a cut link, a killed
host or a rerun costs no measurement.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator

from ..config.device import DeviceProfile
from ..errors import CommandError, DeviceTimeoutError
from ..records import Measurement, Runtime
from ..spaces.spec import Workload
from ..storage import sha256_bytes
from .drift import DriftWatch
from .job import AgentJob, AgentResult
from .on_device.agent import REFERENCE
from .on_device.benchmark import TVM
from .session import Session

POLL_S = (
    0.2,
    2.0,
)  # shortest and longest wait between two looks at the device: looking disturbs the timing
SILENCE_S = (
    15.0  # more than a candidate's time-out before an agent without a sign of life is given up
)
MAX_VAIN_STARTS = 3
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _ignore(news: object) -> None:
    """Do nothing with what is told."""


def collect(
    session: Session,
    profile: DeviceProfile,
    workload: Workload,
    vocab_size: int,
    job_id: str,
    keys: Iterable[str],
    build: Callable[[str], bytes],
    weights_bytes: int,
    notify: Callable[[str], None] = _ignore,
    observe: Callable[[AgentResult], None] = _ignore,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[str, Measurement]]:
    """Measure every key, in an order drawn by the agent, with the reference before, between and
    after.

    Each key is visited as often as the protocol says, and again only where the reference moved
    (`drift.py`). First come the results that the device already holds for `job_id`; an agent that
    still runs for it is joined. Closing the iterator leaves the agent at work; Ctrl-C ends it. A
    model that fails is a Measurement with `error`.

    Parameters
    ----------
    session
        To the device; a `LastingSession`, should a cut link cost nothing.
    profile
        The device.
    workload
        What is timed; precision and beam are already in the graph.
    vocab_size
        Source ids are drawn from [4, vocab_size).
    job_id
        Names the results on the device: the same for every run that belongs to one dataset. Made of
        letters, digits, `.`, `_`, `-`.
    keys
        What to measure; made of the same.
    build
        Returns the ONNX file of a key, or of `REFERENCE`, the same one in every run of the dataset;
        called only for keys that the device has not measured.
    weights_bytes
        Size of the `weights.bin` that the models' external data lies in; 0 for self-contained
        models.
    notify
        Message in one line that the device is not quiet.
    observe
        Shown every result that the device holds or makes, those of the reference too, as soon as it
        is read.
    pause
        Waits so many seconds between two looks at the device; a KeyboardInterrupt that it raises
        counts as Ctrl-C.

    Yields
    ------
    tuple
        A key and its measurement.

    Raises
    ------
    DeviceBusyError
        If another job holds the device.
    CommandError
        If the device cannot measure: no Python, no onnxruntime, disk full.
    ConnectionLostError
        If the link stayed away.
    DeviceTimeoutError
        If the agent gave no sign of life for longer than a candidate may take.
    """
    wanted = tuple(dict.fromkeys(keys))
    for name in (job_id, *wanted):
        if not _SAFE_NAME.fullmatch(name):
            raise ValueError(f"not a safe file name: {name!r}")
    job, watch, uploaded = (
        AgentJob(session, profile, job_id),
        DriftWatch(wanted, profile.measure),
        set[str](),
    )

    def start() -> None:
        job.refuse_if_busy()
        keys = [REFERENCE, *sorted(watch.wanted)]
        for key in keys:
            if key not in uploaded:
                job.add(key, build(key))
                uploaded.add(key)
        again = sum(number > profile.measure.rounds for number in watch.wanted.values())
        if again:
            notify(
                f"{profile.name} is not quiet, its reference moved: measuring {again} subnets again"
            )
        models = {key: f"candidates/{key}.onnx" for key in keys}
        job.start(models, watch.wanted, workload, vocab_size, weights_bytes)

    silence_s = profile.measure.candidate_timeout_s + SILENCE_S
    yield from _until_settled(job, watch, start, silence_s, observe, pause)
    if wanted:
        job.remove("candidates")


def measure_model(
    session: Session,
    profile: DeviceProfile,
    workload: Workload,
    vocab_size: int,
    remote_model_path: str,
    runtime: Runtime = "onnxruntime",
) -> Measurement:
    """Time a model that is already on the device, afresh.

    Parameters
    ----------
    remote_model_path
        Absolute path on the device of a self-contained ONNX file, or, for TVM, of a bundle with its
        runtime beside it.

    Raises
    ------
    DeviceBusyError, CommandError, DeviceTimeoutError
        As `collect`.
    """
    job = AgentJob(session, profile, f"model-{sha256_bytes(remote_model_path.encode())[:12]}")
    watch = DriftWatch(["model"], profile.measure, has_reference=False)
    if not job.is_running():
        job.remove("results.jsonl")

    def start() -> None:
        provider = TVM if runtime == "tvm" else None
        job.start(
            {"model": remote_model_path},
            watch.wanted,
            workload,
            vocab_size,
            weights_bytes=0,
            provider=provider,
        )

    silence_s = profile.measure.candidate_timeout_s + SILENCE_S
    return next(_until_settled(job, watch, start, silence_s))[1]


def _until_settled(
    job: AgentJob,
    watch: DriftWatch,
    start: Callable[[], None],
    silence_s: float,
    observe: Callable[[AgentResult], None] = _ignore,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[str, Measurement]]:
    """Yield what settles; start the agent, again if it died or more is wanted, until nothing is."""
    vain_starts = 0
    results: Iterable[AgentResult] = job.results()
    try:
        while True:
            for result in results:
                observe(result)
                settled = watch.add(result)
                if settled or result.key in watch.wanted:
                    vain_starts = 0
                yield from settled
            if not watch.wanted:
                job.kill()  # it has nothing left to do for us: free the device at once
                return
            if not job.is_running():
                if vain_starts == MAX_VAIN_STARTS:
                    raise CommandError(
                        f"the agent died {vain_starts} times without a result: {job.log_tail()}"
                    )
                vain_starts += 1
                start()
            results = _follow(job, silence_s, pause)
    except KeyboardInterrupt:
        job.kill()
        raise


def _follow(
    job: AgentJob, silence_s: float, pause: Callable[[float], None]
) -> Iterator[AgentResult]:
    """Yield results as they come, until the agent is no more."""
    last_sign, wait_s = time.monotonic(), POLL_S[0]
    while True:
        fresh = job.results()
        yield from fresh
        if fresh or job.has_new_log():
            last_sign, wait_s = time.monotonic(), POLL_S[0]
        elif not job.is_running():
            failure = job.failure()
            yield from job.results()  # written between the two looks
            if failure:
                raise failure
            return
        elif time.monotonic() - last_sign > silence_s:
            words = job.log_tail()
            job.kill()
            raise DeviceTimeoutError(
                f"the agent gave no sign of life for {silence_s:g} s and was ended; last it said: {words}; finished "
                "measurements are kept: run the same command again"
            )
        pause(wait_s)
        wait_s = min(wait_s * 1.5, POLL_S[1])
