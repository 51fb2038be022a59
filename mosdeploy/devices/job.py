"""The agent as the host sees it: how it is copied to a device, started, watched and ended.

In: a session and a profile. Out: what the agent prints and writes, as records. Which models are
measured, and when the agent is started again, is decided in `measure.py`.
"""

import contextlib
import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.device import DeviceProfile
from ..errors import CommandError, ConfigError, DeviceBusyError
from ..record import parse
from ..records import Measurement
from ..spaces.spec import TimingStage
from ..storage import sha256_bytes
from .interpreter import run_python, work_dir
from .session import Session, check_run, last_lines

AGENT = tuple(Path(__file__).parent / "on_device" / name for name in ("agent.py", "benchmark.py"))


def install_agent(session: Session, folder: str, scripts: Sequence[Path] = AGENT) -> str:
    """Copy the agent, or other scripts that stand alone, into a folder named by their content.

    Returns
    -------
    str
        Path of the first script on the device.
    """
    sources = [script.read_bytes() for script in scripts]
    home = f"{folder}/agents/{scripts[0].stem}-{sha256_bytes(b''.join(sources))[:12]}"
    for script, source in zip(scripts, sources, strict=True):
        path = f"{home}/{script.name}"
        with contextlib.suppress(FileNotFoundError):
            if session.read(path) == source:
                continue
        session.put_bytes(source, path)
    return f"{home}/{scripts[0].name}"


def call_agent(
    session: Session,
    profile: DeviceProfile,
    *arguments: str,
    timeout_s: float | None = None,
    scripts: Sequence[Path] = AGENT,
) -> dict[str, Any]:
    """Run one command of the agent, or of another such script, and return the JSON object that it
    prints.

    Raises
    ------
    CommandError
        If there is no Python, or the agent fails.
    """
    path = install_agent(session, work_dir(session, profile), scripts)
    result = run_python(session, profile, shlex.join([path, *arguments]), timeout_s)
    try:
        answer = json.loads(result.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError) as error:
        raise CommandError(
            f"{profile.name}: {scripts[0].name} failed on the device: {last_lines(result)}"
        ) from error
    return dict(answer)


@dataclass(frozen=True)
class AgentResult:
    """One line of a job's results; `measured_at` by the device's clock."""

    key: str
    measurement: Measurement
    measured_at: str = ""


class AgentJob:
    """One job folder on a device: jobs/JOB_ID in the work folder.

    Every method may be called again after a cut connection: starting a running job joins it,
    uploads replace, results are read on from where the last reading ended.
    """

    def __init__(self, session: Session, profile: DeviceProfile, job_id: str) -> None:
        self._session = session
        self._profile = profile
        self._job_id = job_id
        self._root = work_dir(session, profile)
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
        provider: str | None = None,
    ) -> None:
        """Start the agent.

        Parameters
        ----------
        models
            Path of each key's model, relative to the job folder or absolute; one of them may be the
            reference.
        target_counts
            How many results each key is to have, those of earlier starts included.
        stages
            What is timed of each model, `total` first.
        threads
            How many threads a model runs on.
        weights_bytes
            Size of the `weights.bin` beside the candidates; 0 for none.
        provider
            What runs the models; None is the profile's ONNX Runtime provider, and `TVM` means that
            they are bundles.

        Raises
        ------
        DeviceBusyError
            If another job holds the device.
        CommandError
            If the agent cannot run.
        """
        request = {
            "models": dict(models),
            "target_counts": dict(target_counts),
            "stages": [stage.model_dump(mode="json") for stage in stages],
            "threads": threads,
            "weights_bytes": weights_bytes,
            "provider": provider or self._profile.provider,
            "seed": int(hashlib.sha256(self._job_id.encode()).hexdigest()[:8], 16),
            **self._profile.measure.model_dump(),
        }
        self._session.put_bytes(json.dumps(request).encode(), f"{self.folder}/job.json")
        answer = call_agent(self._session, self._profile, "run", self.folder)
        if "busy" in answer:
            raise self._busy(answer["busy"])
        if "error" in answer:
            raise CommandError(f"{self._profile.name}: {answer['error']}")

    def refuse_if_busy(self) -> None:
        """Check that no other job holds the device, before anything is uploaded.

        Raises
        ------
        DeviceBusyError
            If another job holds it.
        """
        holder: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError, ValueError):
            holder = dict(json.loads(self._session.read(f"{self._root}/agent.lock")))
        job = str(holder.get("job", ""))
        pid = str(holder.get("pid", ""))
        if job != self._job_id and self._runs(pid, f"{self._root}/jobs/{job}"):
            raise self._busy(holder)

    def is_running(self) -> bool:
        """Tell whether an agent works on this job now."""
        try:
            pid = self._session.read(f"{self.folder}/pid").decode()
        except FileNotFoundError:
            return False
        return self._runs(pid, self.folder)

    def claimed_keys(self) -> set[str]:
        """Keys that no other board needs to measure: those with a result here, and those that a
        running agent is to measure.
        """
        keys = set[str]()
        # Asked before the results are read: an agent that ends meanwhile has written all of them.
        if self.is_running():
            job = json.loads(self._session.read(f"{self.folder}/job.json"))
            keys.update(job.get("target_counts", ()))  # not there in a job of 0.1.0
        return keys | {result.key for result in self.results()}

    def results(self) -> list[AgentResult]:
        """Whole lines of results.jsonl that were not read yet.

        Raises
        ------
        CommandError
            If a line is not a result.
        """
        path = f"{self.folder}/results.jsonl"
        try:
            content = self._session.read(path, self._num_read)
        except FileNotFoundError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._num_read += len(whole)
        return [self._parse(line, path) for line in whole.splitlines()]

    def has_new_log(self) -> bool:
        """Tell whether the agent has printed anything since the last call."""
        try:
            news = self._session.read(f"{self.folder}/agent.log", self._log_size)
        except FileNotFoundError:
            return False
        self._log_size += len(news)
        return bool(news)

    def failure(self) -> CommandError | None:
        """Why measuring stopped; None if it is not over, ended well or was killed."""
        try:
            outcome = dict(json.loads(self._session.read(f"{self.folder}/rc")))
        except FileNotFoundError:
            return None
        if outcome.get("rc") == 0:
            return None
        error = str(outcome.get("error"))
        if "imported" in error:
            error += f"; run `mosdeploy devices setup {self._profile.cli_name}`"
        return CommandError(f"{self._profile.name}: measuring stopped: {error}")

    def log_tail(self) -> str:
        """The end of the agent's log, and how much disk is free, for a message."""
        folder = shlex.quote(self.folder)
        command = f"tail -n 3 {folder}/agent.log; df -Ph {folder} | tail -n 1"
        return last_lines(self._session.run(command), 4)

    def kill(self) -> None:
        """End the agent and the model that it measures; without effect if it is not running."""
        if self.is_running():
            pid = int(self._session.read(f"{self.folder}/pid"))
            self._session.run(f"kill -9 -{pid}")

    def remove(self, *names: str) -> None:
        """Remove files or folders of the job."""
        paths = shlex.join(f"{self.folder}/{name}" for name in names)
        check_run(self._session, f"rm -rf {paths}", "cleaning up")

    def _runs(self, pid: str, folder: str) -> bool:
        """Tell whether a pid is that of an agent that works in a folder, and not of a later process
        that got the same number.
        """
        if not pid.isdigit():
            return False
        try:
            words = self._session.read(f"/proc/{pid}/cmdline").split(b"\0")
        except (FileNotFoundError, CommandError):
            return False
        return folder.encode() in words

    def _busy(self, holder: Mapping[str, Any]) -> DeviceBusyError:
        pid = holder.get("pid", "unknown")
        since = holder.get("since", "an unknown time")
        return DeviceBusyError(
            f"{self._profile.name}: another measurement holds the device: pid {pid}, since "
            f"{since}, job {holder.get('job', 'unknown')}; wait until it is over, or end it there "
            f"with `kill -- -{pid}`"
        )

    def _parse(self, line: bytes, path: str) -> AgentResult:
        try:
            data = json.loads(line)
            measurement = parse(Measurement, data["measurement"], path)
            return AgentResult(str(data["key"]), measurement, str(data.get("measured_at", "")))
        except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
            raise CommandError(
                f"{self._profile.name}: {path} holds a line that is not a result ({error}); remove "
                "that file on the device and run the same command again"
            ) from error
