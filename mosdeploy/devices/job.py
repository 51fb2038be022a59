"""The agent as the host sees it: how it is started on a device, watched and ended."""

import contextlib
import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Self

from pydantic import ConfigDict, model_validator

from ..errors import CommandError, DeviceBusyError
from ..record import Record
from ..records import Measurement
from ..spaces.spec import TimingStage
from .device import Answer, Device, NoPythonError
from .session import Session, check_run, last_lines, parse_answer

MAX_MS = 1e9
"""Longest time that is believed, in milliseconds: eleven days."""


class Holder(Record):
    """The agent that holds a device, as far as it is known."""

    model_config = ConfigDict(extra="ignore")

    pid: int | None = None
    job: str = "unknown"
    since: str = "an unknown time"


class _AgentAnswer(Answer):
    pid: int | None = None
    busy: Holder | None = None


class _Request(Record):
    """The part of job.json that is read again."""

    model_config = ConfigDict(extra="ignore")

    target_counts: dict[str, int]


class _Outcome(Record):
    """What the agent writes into rc at its end."""

    rc: int
    error: str | None = None


class _Clock(Record):
    now_s: int


class AgentResult(Record):
    """One line of a job's results. The clock of `measured_at` may be set meanwhile; that of
    `uptime_s` runs from the start of the device, `boot_id`.
    """

    key: str
    measurement: Measurement
    measured_at: str = ""
    uptime_s: float | None = None
    boot_id: str = ""

    @property
    def made_s(self) -> float | None:
        """Unix time of the result; None where the device does not tell."""
        try:
            return datetime.fromisoformat(self.measured_at).timestamp()
        except (ValueError, OverflowError):
            return None

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        total = self.measurement.total
        if total is None and self.measurement.error is None:
            raise ValueError("neither a time nor an error")
        if total is not None and total.minimum_ms <= 0:
            raise ValueError("every run takes longer than 0 ms")
        for timing in (total, *self.measurement.parts.values()):
            if timing is None:
                continue
            ordered_ms = (timing.minimum_ms, timing.median_ms, timing.p90_ms, timing.p99_ms)
            # what is left of one stage after another is taken away may be nothing
            others = (ordered_ms[0], timing.cpu_ms or 0, timing.interval_percent or 0)
            # numpy before 1.20 rounds a percentile in another way
            is_ordered = all(after >= before * (1 - 1e-9) for before, after in pairwise(ordered_ms))
            is_bounded = min(others) >= 0 and ordered_ms[-1] <= MAX_MS and timing.repeats >= 1
            if not (is_ordered and is_bounded):
                raise ValueError(f"no timing has the figures {timing.model_dump_json()}")
        memory = (self.measurement.memory_bytes or 0, self.measurement.peak_memory_bytes or 0)
        if min(memory) < 0:
            raise ValueError("no memory is less than none")
        return self


class AgentJob:
    """One job folder on a device: jobs/JOB_ID in the work folder."""

    def __init__(self, device: Device, job_id: str) -> None:
        self._device = device
        self._session = device.session
        self._job_id = job_id
        self._root = device.work_dir()
        self.folder = f"{self._root}/jobs/{job_id}"
        self._num_read = 0
        self._log_size = 0

    def add(self, key: str, model: bytes) -> None:
        """Upload a candidate; its external data is expected in `weights.bin` beside it."""
        self._session.put_bytes(model, f"{self.folder}/candidates/{key}.onnx")

    def start(
        self,
        models: Mapping[str, str],
        target_counts: Mapping[str, int],
        stages: Sequence[TimingStage],
        *,
        threads: int,
        weights_bytes: int = 0,
    ) -> None:
        """Start the agent."""
        request = {
            "models": dict(models),
            "target_counts": dict(target_counts),
            "stages": [stage.model_dump(mode="json") for stage in stages],
            "threads": threads,
            "weights_bytes": weights_bytes,
            "provider": self._device.profile.provider,
            "seed": int(hashlib.sha256(self._job_id.encode()).hexdigest()[:8], 16),
            **self._device.profile.measure.model_dump(),
        }
        self._session.put_bytes(json.dumps(request).encode(), f"{self.folder}/job.json")
        answer = self._device.call(_AgentAnswer, "agent", "run", self.folder)
        if answer.busy is not None:
            raise _busy_error(self._device, answer.busy)

    def refuse_if_busy(self) -> None:
        """Check that no other job holds the device, before anything is uploaded."""
        refuse_if_busy(self._device, self._job_id)

    def is_running(self) -> bool:
        """Tell whether an agent works on this job now."""
        return self._running_pid() is not None

    def claimed_keys(self) -> set[str]:
        """Keys that no other board needs to measure: those with a result here, and those that a
        running agent is to measure.
        """
        keys = set[str]()
        # asked before the results are read: an agent that ends meanwhile has written all of them
        if self.is_running():
            path = f"{self.folder}/job.json"
            keys.update(parse_answer(_Request, self._session.read(path), path).target_counts)
        return keys | {result.key for result in self.results()}

    def results(self) -> list[AgentResult]:
        """Whole lines of results.jsonl that were not read yet."""
        lines = self._lines("results.jsonl", self._num_read)
        self._num_read += sum(map(len, lines))
        return [self._parse(line) for line in lines]

    def remove_results(self, max_age_s: float) -> None:
        """Remove results that are older by the device's clock, or newer than now: it was set."""
        lines = [] if self.is_running() else self._lines("results.jsonl", 0)
        if not lines:
            return
        clock = check_run(self._session, """date '+{"now_s": %s}'""", "reading the clock")
        # rounded down, so that a result of this second would be of a time to come
        now_s = 1 + parse_answer(_Clock, clock, "date").now_s
        ages_s = [now_s - (self._parse(line).made_s or 0.0) for line in lines]
        kept = [x for x, age_s in zip(lines, ages_s, strict=True) if 0 <= age_s <= max_age_s]
        if len(kept) < len(lines):
            self._session.put_bytes(b"".join(kept), f"{self.folder}/results.jsonl")

    def has_new_log(self) -> bool:
        """Tell whether the agent has printed anything since the last call."""
        news = self._read("agent.log", self._log_size)
        self._log_size += len(news)
        return bool(news)

    def failure(self) -> CommandError | None:
        """Why measuring stopped; None if it is not over, ended well or was killed."""
        text = self._read("rc")
        outcome = parse_answer(_Outcome, text, f"{self.folder}/rc") if text else _Outcome(rc=0)
        if outcome.rc == 0:
            return None
        error = outcome.error or "for a reason that the device does not tell"
        if "imported" in error or "No module named" in error:
            error += f"; run `mosdeploy devices check {self._device.profile.cli_name} --setup`"
        return CommandError(f"{self._device.board}: measuring stopped: {error}")

    def log_tail(self) -> str:
        """The end of the agent's log, and how much disk is free, for a message."""
        folder = shlex.quote(self.folder)
        command = f"tail -n 3 {folder}/agent.log; df -Ph {folder} | tail -n 1"
        return last_lines(self._session.run(command), 4)

    def kill(self) -> None:
        """End the agent and the model that it measures; without effect if it is not running."""
        pid = self._running_pid()
        if pid is not None:
            self._session.run(f"kill -9 -{pid}")

    def remove(self, *names: str) -> None:
        """Remove files or folders of the job."""
        paths = shlex.join(f"{self.folder}/{name}" for name in names)
        check_run(self._session, f"rm -rf {paths}", "cleaning up")

    def _running_pid(self) -> str | None:
        pid = self._read("pid").decode(errors="replace")
        return pid if runs_in(self._session, pid, self.folder) else None

    def _read(self, name: str, offset: int = 0) -> bytes:
        """Read a file of the job from an offset; nothing where it is missing."""
        try:
            return self._session.read(f"{self.folder}/{name}", offset)
        except FileNotFoundError:
            return b""

    def _lines(self, name: str, offset: int) -> list[bytes]:
        content = self._read(name, offset)
        return content[: content.rfind(b"\n") + 1].splitlines(keepends=True)

    def _parse(self, line: bytes) -> AgentResult:
        path = f"{self.folder}/results.jsonl"
        try:
            return parse_answer(AgentResult, line, path)
        except CommandError as error:
            raise CommandError(
                f"{self._device.board}: {error}; remove that file on the device and run the same "
                "command again"
            ) from error


def refuse_if_busy(device: Device, own_job: str | None = None) -> None:
    """Check that no measurement runs on a device, before anything is done there that it would
    notice.
    """
    folder = device.work_dir()
    holder = Holder()
    with contextlib.suppress(FileNotFoundError, CommandError):
        path = f"{folder}/agent.lock"
        holder = parse_answer(Holder, device.session.read(path), path)
    if runs_in(device.session, str(holder.pid), f"{folder}/jobs/{holder.job}"):
        if holder.job == own_job:
            return
        raise _busy_error(device, holder)
    with contextlib.suppress(NoPythonError):
        answer = device.call(_AgentAnswer, "agent", "busy", folder)
        if answer.busy is not None:
            raise _busy_error(device, answer.busy)


def runs_in(session: Session, pid: str, folder: str) -> bool:
    """Tell whether a pid is that of an agent that works in a folder, and not of a later process
    that got the same number.
    """
    # process group 1 in `kill -9 -1` would be every process of the user
    if not (pid.isascii() and pid.isdigit() and 1 < int(pid[:20]) < 1 << 32):
        return False
    with contextlib.suppress(FileNotFoundError, CommandError):
        return folder.encode() in session.read(f"/proc/{int(pid)}/cmdline").split(b"\0")
    # it is over, or the system has no /proc, as macOS
    words = session.run(["ps", "-ww", "-o", "args=", "-p", str(int(pid))]).stdout.strip()
    return f" {folder} " in f"{words} "


def _busy_error(device: Device, holder: Holder) -> DeviceBusyError:
    """Say who holds a device."""
    pid = "unknown" if holder.pid is None else holder.pid
    end_it = "" if holder.pid is None else f", or end it there with `kill -- -{pid}`"
    return DeviceBusyError(
        f"{device.board}: another measurement holds the device: pid {pid}, since {holder.since}, "
        f"job {holder.job}; wait until it is over{end_it}"
    )
