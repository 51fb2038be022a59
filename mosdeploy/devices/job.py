"""The agent as the host sees it: how it gets to a device, is started, watched and ended.

In: a session and a profile. Out: what the agent says, as records. Which models are measured, and
when the agent is started again, is decided in `measure.py`.
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
from ..spaces.spec import Workload
from ..storage import sha256_bytes
from .session import CommandResult, Session, check_run, last_lines

AGENT = tuple(Path(__file__).parent / "on_device" / name for name in ("agent.py", "benchmark.py"))


class NoPythonError(CommandError):
    """The profile's Python does not run on the device."""


def work_dir(session: Session, profile: DeviceProfile) -> str:
    """Absolute path of the profile's work folder on the device.

    Raises
    ------
    ConfigError
        If the profile's path is neither absolute nor in the home folder.
    """
    path = profile.work_dir
    if path.startswith("~/"):
        path = session.home() + path[1:]
    if not path.startswith("/"):
        raise ConfigError(
            f"device '{profile.name}': work_dir must begin with '/' or '~/', got '{profile.work_dir}'"
        )
    return path.rstrip("/")


def run_python(
    session: Session,
    profile: DeviceProfile,
    arguments: str,
    timeout_s: float | None = None,
    environment: str = "",
) -> CommandResult:
    """Run the device's Python: that of `devices setup` if it is there, else the profile's.

    Parameters
    ----------
    arguments
        Arguments as shell text, quoted where needed.
    environment
        Assignments as shell text, `NAME=value`.

    Raises
    ------
    NoPythonError
        If there is no such Python.
    """
    venv = f"{work_dir(session, profile)}/venv/bin/python"
    python = profile_python(profile)
    script = f'PY={shlex.quote(venv)}; [ -x "$PY" ] || PY={shlex.quote(python)}; {environment} "$PY" {arguments}'
    result = session.run(script, timeout_s)
    if result.returncode in (126, 127):
        raise NoPythonError(
            f"{profile.name}: no Python on the device: '{python}' does not run there ({last_lines(result, 1)}); run "
            "there: sudo apt-get install python3 python3-venv, or name another one as `python` in the profile"
        )
    return result


def python_path(session: Session, profile: DeviceProfile) -> str:
    """Absolute path of the Python that `run_python` runs."""
    return run_python(session, profile, "-c 'import sys; print(sys.executable)'").stdout.strip()


def profile_python(profile: DeviceProfile) -> str:
    """The profile's Python; on this machine, unless the profile names one, that which runs
    mosdeploy.
    """
    if profile.kind == "local" and profile.python == DeviceProfile.model_fields["python"].default:
        import sys

        return sys.executable
    return profile.python


def install_agent(session: Session, folder: str, scripts: Sequence[Path] = AGENT) -> str:
    """Put the agent, or other scripts that stand alone, into a folder named by their content; the
    path of the first.
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
            f"{profile.name}: the {scripts[0].stem} script failed there: {last_lines(result)}"
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

    Everything may be called again after a cut: starting a running job joins it, uploads replace,
    results are read on from where the last reading ended.
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
        wanted: Mapping[str, int],
        workload: Workload,
        vocab_size: int,
        weights_bytes: int,
        provider: str | None = None,
    ) -> None:
        """Start the agent.

        Parameters
        ----------
        models
            Path of each key's model, relative to the job folder or absolute; one of them may be the
            reference.
        wanted
            How many results each key is to have, those of earlier starts included.
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
            "wanted": dict(wanted),
            "source_len": workload.source_len,
            "decode_steps": workload.decode_steps,
            "threads": workload.threads,
            "vocab_size": vocab_size,
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
        """Look who holds the device before anything is uploaded.

        Raises
        ------
        DeviceBusyError
            If another job holds it.
        """
        holder: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError, ValueError):
            holder = dict(json.loads(self._session.read(f"{self._root}/agent.lock")))
        job = str(holder.get("job", ""))
        if job != self._job_id and self._runs(
            str(holder.get("pid", "")), f"{self._root}/jobs/{job}"
        ):
            raise self._busy(holder)

    def is_running(self) -> bool:
        """Tell whether an agent works on this job now."""
        try:
            pid = self._session.read(f"{self.folder}/pid").decode()
        except FileNotFoundError:
            return False
        return self._runs(pid, self.folder)

    def claimed_keys(self) -> set[str]:
        """Keys that nobody else needs to measure: those with a result here, and those that a
        running agent goes for.
        """
        keys = set[str]()
        if (
            self.is_running()
        ):  # asked first: an agent that ends meanwhile has written all its results
            keys.update(json.loads(self._session.read(f"{self.folder}/job.json"))["wanted"])
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
        """Tell whether the agent has said anything since the last call: its sign of life."""
        try:
            news = self._session.read(f"{self.folder}/agent.log", self._log_size)
        except FileNotFoundError:
            return False
        self._log_size += len(news)
        return bool(news)

    def failure(self) -> CommandError | None:
        """Why the agent stopped before its end; None when it did not, or died without a word."""
        try:
            outcome = dict(json.loads(self._session.read(f"{self.folder}/rc")))
        except FileNotFoundError:
            return None
        if outcome.get("rc") == 0:
            return None
        error = str(outcome.get("error"))
        fix = (
            f"; run `mosdeploy devices setup {self._profile.cli_name}`"
            if "imported" in error
            else ""
        )
        return CommandError(f"{self._profile.name}: measuring stopped: {error}{fix}")

    def log_tail(self) -> str:
        """The end of the agent's log, and how much disk is free, for a message."""
        command = f"tail -n 3 {shlex.quote(self.folder)}/agent.log; df -Ph {shlex.quote(self.folder)} | tail -n 1"
        return last_lines(self._session.run(command), 4)

    def kill(self) -> None:
        """End the agent and the model that it measures; without effect when it is not running."""
        if self.is_running():
            pid = int(self._session.read(f"{self.folder}/pid"))
            self._session.run(f"kill -9 -{pid}")

    def remove(self, *names: str) -> None:
        """Remove files or folders of the job."""
        paths = shlex.join(f"{self.folder}/{name}" for name in names)
        check_run(self._session, f"rm -rf {paths}", "cleaning up")

    def _runs(self, pid: str, folder: str) -> bool:
        """Tell whether a pid is an agent's that works in a folder, and not of something that came
        after it.
        """
        if not pid.isdigit():
            return False
        try:
            words = self._session.read(f"/proc/{pid}/cmdline").split(b"\0")
        except (FileNotFoundError, CommandError):
            return False
        return folder.encode() in words

    def _busy(self, holder: Mapping[str, Any]) -> DeviceBusyError:
        pid, since = holder.get("pid", "unknown"), holder.get("since", "an unknown time")
        return DeviceBusyError(
            f"{self._profile.name}: another measurement holds the device: pid {pid}, since {since}, job "
            f"{holder.get('job', 'unknown')}; wait until it is over, or end it there with `kill -- -{pid}`"
        )

    def _parse(self, line: bytes, path: str) -> AgentResult:
        try:
            data = json.loads(line)
            fields = {
                name: value
                for name, value in data["measurement"].items()
                if name in Measurement.model_fields
            }
            return AgentResult(
                str(data["key"]), parse(Measurement, fields, path), str(data.get("measured_at", ""))
            )
        except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
            raise CommandError(
                f"{self._profile.name}: {path} holds a line that is not a result ({error}); remove that file on the "
                "device and run the same command again"
            ) from error
