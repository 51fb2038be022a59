"""Profiling sessions: which board, its state before and after, timings of the reference subnet."""

import datetime
import json
import uuid
from pathlib import Path
from typing import TypeVar

from ..errors import ConfigError, StaleInputError, UnknownKeyError
from ..record import Record, parse_json
from ..records import DeviceState, Measurement, ReferenceTiming, SessionRecord
from ..storage import append_line, atomic_write, read_lines

NAME = "sessions.jsonl"

R = TypeVar("R", bound=Record)


class ProfilingSession:
    """One stretch of measuring on one board, written to the file after each change."""

    def __init__(
        self,
        dataset_path: Path,
        host: str,
        state: DeviceState,
        *,
        dataset_id: str,
        emulated: bool = False,
    ) -> None:
        self._path = dataset_path.parent / NAME
        earlier = [session for session in read_sessions(dataset_path) if session.host == host]
        self._known = {timing.measured_at for session in earlier for timing in session.references}
        started_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.record = SessionRecord(
            session=uuid.uuid4().hex[:8],
            dataset_id=dataset_id,
            started_at=started_at,
            host=host,
            emulated=emulated,
            state=state,
        )
        append_line(self._path, self.record)

    def add_reference(self, measured_at: str, measurement: Measurement) -> None:
        """Keep a timing of the reference, unless an earlier session has it."""
        if measurement.total and measured_at not in self._known:
            self._known.add(measured_at)
            timing = ReferenceTiming(measured_at=measured_at, total=measurement.total)
            self._replace(references=(*self.record.references, timing))

    def go_on(self) -> None:
        """Take the end back: the board gets more to measure."""
        if self.record.after is not None:
            self._replace(after=None)

    def end(self, after: DeviceState) -> None:
        """Keep the state of the board now; a session that goes on may end again."""
        self._replace(after=after)

    def withdraw(self) -> None:
        """Forget the session: what was measured in it no longer counts, and is measured again."""
        lines = read_lines(self._path)[0]
        kept = [line for line in lines if json.loads(line)["session"] != self.record.session]
        atomic_write(self._path, b"".join(line + b"\n" for line in kept))

    def _replace(self, **changes: object) -> None:
        self.record = self.record.model_copy(update=changes)
        _write(self._path, self.record)


def end_session(dataset_path: Path, session: SessionRecord, after: DeviceState) -> None:
    """Write down that nothing is left on the board of a session that was killed. Only the holder
    of the dataset's lock may call this.
    """
    _write(dataset_path.parent / NAME, session.model_copy(update={"after": after}))


def _write(path: Path, record: SessionRecord) -> None:
    """Put a session in the place of the one of its name."""
    # other sessions' lines stay byte for byte
    lines = [
        record.model_dump_json().encode() if json.loads(line)["session"] == record.session else line
        for line in read_lines(path)[0]
    ]
    atomic_write(path, b"".join(line + b"\n" for line in lines))


def read_sessions(dataset_path: Path) -> tuple[SessionRecord, ...]:
    """The profiling sessions of a dataset, oldest first."""
    path = dataset_path.parent / NAME
    found = []
    for number, line in enumerate(read_lines(path)[0], start=1):
        remedy = (
            "delete that line alone, and `mosdeploy profile`, of finalists `mosdeploy search`, "
            "measures again what was measured in that session"
        )
        holder = f"the folder {path.parent}"
        place = f"{path}, line {number}"
        found.append(parse_line(SessionRecord, line, place, holder=holder, remedy=remedy))
    return tuple(found)


def parse_line(model: type[R], line: bytes, place: str, *, holder: str, remedy: str) -> R:
    """Read one line."""
    try:
        return parse_json(model, line, place)
    except UnknownKeyError as error:
        raise StaleInputError(
            f"{error}; it was made by another version of mosdeploy: update mosdeploy, or move "
            f"{holder} away and run `mosdeploy profile` again"
        ) from error
    except ConfigError as error:
        raise StaleInputError(f"{error}; {remedy}") from error
