"""An artifact of a run folder: what it was made from, its state, and how one is replaced."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import JsonValue
from pydantic_core import to_jsonable_python

from ..errors import (
    ConfigError,
    InfeasibleError,
    MosdeployError,
    PredictorError,
    StaleInputError,
    UnreadableError,
)
from ..record import Record
from ..storage import (
    disk_errors,
    is_locked,
    locked,
    readable_record,
    replace_folder,
    restore_folder,
    sha256_bytes,
    write_record,
)
from ..workspace import NEW_SUFFIX

Inputs = Mapping[str, JsonValue]
"""What an artifact is made from: settings by `section.key`, other artifacts by digest."""

JOB_NAME = "job.json"
DIGEST = "sha256:"
"""Begins the value of an input that is a digest, which no sentence repeats."""

State = Literal["missing", "ok", "stale", "running", "stopped"]


class JobRecord(Record):
    """job.json: what an unfinished artifact is made from, and the command that makes it."""

    version: Literal[1] = 1
    command: str
    inputs: dict[str, JsonValue]


@dataclass(frozen=True)
class Made:
    """A finished artifact: what it was made from, and what `status` says of it."""

    inputs: Inputs
    detail: str = ""


@dataclass(frozen=True)
class ArtifactState:
    """State of an artifact; `command` is what to run next for it, None if nothing."""

    state: State
    detail: str = ""
    command: str | None = None


@dataclass(frozen=True)
class Making:
    """An artifact under work: write it into `folder`, with `inputs` in its record."""

    folder: Path
    inputs: dict[str, JsonValue]
    is_done: bool = False

    @property
    def inputs_sha256(self) -> str:
        """Digest of the inputs, which the state of a training is checked by."""
        return digest(self.inputs)


@dataclass(frozen=True)
class Artifact:
    """One artifact of a run folder.

    Attributes
    ----------
    name, key
        Kind and instance: `dataset`, `rpi`.
    folder
        Where it lies. A new one is made in the folder of that name with `-new`.
    command
        What makes it.
    inputs
        What it would be made from now. Raises MosdeployError if an input does not count itself.
    made
        (folder) to what lies there, None if nothing does. Raises StaleInputError if it is damaged.
    in_place
        Its files are appended to or replaced one by one, so that there is no second folder.
    lock
        What a command locks that makes it; the folder if None.
    """

    name: str
    folder: Path
    command: str
    inputs: Callable[[], Inputs]
    made: Callable[[Path], Made | None]
    key: str = ""
    in_place: bool = False
    lock: Path | None = field(default=None)

    @property
    def new_folder(self) -> Path:
        """Where a new one is made."""
        folder = self.folder
        return folder if self.in_place else folder.with_name(f"{folder.name}{NEW_SUFFIX}")

    @property
    def job(self) -> JobRecord | None:
        """The unfinished work on it."""
        return readable_record(JobRecord, self.new_folder / JOB_NAME)

    def state(self) -> ArtifactState:
        """Compare what it was made from with what it would be made from now."""
        try:
            job = self.job
        except UnreadableError as error:
            return ArtifactState("stale", str(error))
        if is_locked(self.lock or self.folder):
            command = self.command if job is None else job.command
            return ArtifactState("running", f"`{command}` runs now; wait for it, or stop it")
        found = self._finished()
        if job is None:
            return found
        try:
            changed = explain_difference(job.inputs, self.inputs())
        except MosdeployError as error:
            return ArtifactState("stopped", f"`{job.command}` was stopped; {error}")
        if not changed or self.in_place:  # its parts on disk each say what they are of
            return ArtifactState("stopped", f"`{job.command}` goes on with it", job.command)
        forget = f"restore that, or delete {self._unfinished}"
        if found.state == "ok":  # it does not need the one that was stopped
            note = f"{found.detail}; `{job.command}` was stopped: {forget} to forget it"
            return ArtifactState("ok", note)
        return ArtifactState("stopped", f"`{job.command}` was stopped, and {changed}: {forget}")

    def _finished(self) -> ArtifactState:
        """State of what lies there, whatever is under work."""
        try:
            made = self.made(self.folder)
            if made is None:
                return ArtifactState("missing", command=self.command)
            changed = explain_difference(made.inputs, self.inputs())
        except MosdeployError as error:
            return ArtifactState("stale", str(error), self.command)
        if changed:
            return ArtifactState("stale", changed, self.command)
        return ArtifactState("ok", made.detail)

    def require(self) -> Made:
        """Return it if it counts.

        Raises
        ------
        StaleInputError
            If it is missing, damaged, or made from other inputs.
        """
        made = self.made(self.folder)
        if made is None:
            raise StaleInputError(f"no {self.title} in {self.folder}; run `{self.command}` first")
        if changed := explain_difference(made.inputs, self.inputs()):
            raise StaleInputError(
                f"the {self.title} no longer counts: {changed}; restore that, or run "
                f"`{self.command}` again"
            )
        return made

    @contextlib.contextmanager
    def make(
        self, command: str | None = None, asked: Inputs | None = None, *, again: bool = False
    ) -> Iterator[Making]:
        """Hold the artifact while it is made; what is finished then takes its place.

        A killed work leaves its folder and job.json, and the same command goes on with them. With
        `again` it is made even if it counts.

        Raises
        ------
        MosdeployError
            If another process makes it.
        StaleInputError
            If an unfinished one is for other inputs.
        """
        command = command or self.command
        busy = MosdeployError(
            f"`{command}` runs already for {self.folder}; wait for it, or stop it"
        )
        with locked(self.lock or self.folder, busy):
            with disk_errors(self.folder):
                restore_folder(self.folder)
            wanted = {**self.inputs(), **(asked or {})}
            if not self.in_place:
                self._place_finished(wanted)
            if not again and self._counts(self.folder, wanted):
                if (job := self.job) is None or job.inputs == wanted:
                    self._forget()
                yield Making(self.folder, wanted, is_done=True)
                return
            making = Making(self.new_folder, wanted)
            if self.in_place:
                with self.announced(command, wanted):
                    yield making
                return
            self._begin(JobRecord(command=command, inputs=wanted))
            yield making
            self._place_finished(wanted)

    @contextlib.contextmanager
    def announced(self, command: str, inputs: Inputs) -> Iterator[None]:
        """Keep job.json while a command works, but not after an error that it would repeat."""
        write_record(self.new_folder / JOB_NAME, JobRecord(command=command, inputs=dict(inputs)))
        try:
            yield
        except (ConfigError, InfeasibleError, PredictorError, StaleInputError):
            self._forget()
            raise
        self._forget()

    @property
    def title(self) -> str:
        """Name and key, for people."""
        return f"{self.name} {self.key}".rstrip()

    @property
    def _unfinished(self) -> Path:
        return self.new_folder / JOB_NAME if self.in_place else self.new_folder

    def _counts(self, folder: Path, wanted: Inputs) -> bool:
        try:
            made = self.made(folder)
        except UnreadableError:
            raise
        except MosdeployError:
            return False
        return made is not None and dict(made.inputs) == wanted

    def _begin(self, job: JobRecord) -> None:
        """Note what is made, unless something else was begun."""
        found = self.job
        if found is not None and found.inputs != job.inputs:
            changed = explain_difference(found.inputs, job.inputs)
            raise StaleInputError(
                f"`{found.command}` was stopped, and {changed}: restore that and run it to go on, "
                f"or delete {self._unfinished}"
            )
        if found is None:
            with disk_errors(self.new_folder):  # what a kill left of a replaced one
                shutil.rmtree(self.new_folder, ignore_errors=True)
        write_record(self.new_folder / JOB_NAME, job)

    def _place_finished(self, wanted: Inputs) -> None:
        """Let a finished new one take the place of the old one."""
        job = self.job
        if job is None or job.inputs != wanted or not self._counts(self.new_folder, wanted):
            return
        with disk_errors(self.folder):
            # job.json goes last: with it, a kill in between is seen and finished here
            replace_folder(self.new_folder, self.folder)
        self._forget()

    def _forget(self) -> None:
        """Remove what a kill at the very end may have left."""
        with disk_errors(self.folder):
            (self.folder / JOB_NAME).unlink(missing_ok=True)
            if not self.in_place:
                shutil.rmtree(self.new_folder, ignore_errors=True)


def digest(inputs: Inputs) -> str:
    """Return the SHA-256 of inputs."""
    return sha256_bytes(json.dumps(dict(inputs), sort_keys=True).encode())


def settings(record: Record, section: str) -> dict[str, JsonValue]:
    """Return the keys of a section of the run file with their values, as inputs."""
    found: dict[str, JsonValue] = {}
    for name, info in type(record).model_fields.items():
        value = getattr(record, name)
        if isinstance(value, Record):
            found |= settings(value, f"{section}.{name}")
        elif not info.exclude:
            found[f"{section}.{name}"] = to_jsonable_python(value)
    return found


def explain_difference(then: Inputs, now: Inputs) -> str:
    """Describe how inputs of now differ from those of then; empty if they are the same.

    An input that only `then` has was an option of the command, which no later state depends on.
    """
    found = []
    for name, value in now.items():
        if name in then and then[name] == value:
            continue
        old = then.get(name)
        if any(isinstance(x, str) and x.startswith(DIGEST) for x in (old, value)):
            found.append(f"the {name} has changed")
        else:
            found.append(f"{name} was {_spelled(old)}, is {_spelled(value)} now")
    return ", ".join(found)


def _spelled(value: JsonValue) -> str:
    return "unset" if value is None else json.dumps(value, ensure_ascii=False)
