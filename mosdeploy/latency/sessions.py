"""The sessions in which a dataset was measured: which board, its state before and after, the
reference's timings.

In: what a device says of itself and what it measures. Out: `sessions.jsonl` beside the dataset.
What the timings of the reference tell about a board is said in `levels.py`.
"""

import datetime
import json
import uuid
from pathlib import Path

from ..errors import ConfigError, StaleInputError
from ..record import parse
from ..records import DeviceState, Measurement, ReferenceTiming, SessionRecord
from ..storage import append_line, atomic_write, read_lines

NAME = "sessions.jsonl"


class SessionLog:
    """One session, in the file from its first moment and after each change; one writer, who holds
    the dataset's lock.

    Parameters
    ----------
    dataset_path
        The dataset that is measured; the file lies beside it.
    host
        The board, by its alias.
    state
        What it said of itself before.
    emulated
        Whether the board is an emulation.

    Attributes
    ----------
    record
        The session as far as it is known.
    """

    def __init__(
        self, dataset_path: Path, host: str, state: DeviceState, *, emulated: bool = False
    ) -> None:
        self._path = dataset_path.parent / NAME
        earlier = [
            session for session in read_sessions(dataset_path) if session.host in (None, host)
        ]
        self._known = {timing.measured_at for session in earlier for timing in session.references}
        started_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.record = SessionRecord(
            session=uuid.uuid4().hex[:8],
            started_at=started_at,
            host=host,
            emulated=emulated,
            state=state,
        )
        append_line(self._path, self.record)

    def add_reference(self, measured_at: str, measurement: Measurement) -> None:
        """Keep a timing of the reference, unless an earlier session has it: a device tells of all
        that it holds.
        """
        if measurement.total and measured_at not in self._known:
            self._known.add(measured_at)
            timing = ReferenceTiming(measured_at=measured_at, total=measurement.total)
            self._replace(references=(*self.record.references, timing))

    def end(self, after: DeviceState) -> None:
        """Keep what the board says of itself now; a session that goes on may end again."""
        self._replace(after=after)

    def _replace(self, **changes: object) -> None:
        self.record = self.record.model_copy(update=changes)
        lines = [
            self.record.model_dump_json().encode()
            if json.loads(line)["session"] == self.record.session
            else line
            for line in read_lines(self._path)[0]
        ]
        atomic_write(self._path, b"".join(line + b"\n" for line in lines))


def read_sessions(dataset_path: Path) -> tuple[SessionRecord, ...]:
    """The sessions of a dataset, oldest first.

    Raises
    ------
    StaleInputError
        If a line is corrupt.
    """
    path = dataset_path.parent / NAME
    try:
        return tuple(
            parse(SessionRecord, json.loads(line), str(path)) for line in read_lines(path)[0]
        )
    except (ValueError, ConfigError) as error:
        raise StaleInputError(
            f"{path} is corrupt ({error}); delete it and run `mosdeploy profile` again"
        ) from error
