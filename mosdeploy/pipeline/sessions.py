"""The sessions in which a dataset was measured: the device before and after, and the reference's timings.

In: what a device says of itself and what it measures. Out: `sessions.jsonl` beside the dataset, and how far apart
repeats of one subnet lie there.
"""

import datetime
import json
import statistics
import uuid
from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigError, StaleInputError
from ..records import DeviceState, Measurement, ReferenceTiming, SessionRecord
from ..schema import parse
from ..workspace import append_line, atomic_write, read_lines

NAME = "sessions.jsonl"


class SessionLog:
    """One session, in the file from its first moment; whoever holds one holds the lock of the dataset beside it.

    Attributes
    ----------
    record
        The session as far as it is known.
    """

    def __init__(self, dataset_path: Path, state: DeviceState) -> None:
        self._path = dataset_path.parent / NAME
        self._known = {timing.measured_at for session in read_sessions(dataset_path) for timing in session.references}
        self._references: list[ReferenceTiming] = []
        started_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.record = SessionRecord(session=uuid.uuid4().hex[:8], started_at=started_at, state=state)
        append_line(self._path, self.record)

    def add_reference(self, measured_at: str, measurement: Measurement) -> None:
        """Keep a timing of the reference, unless an earlier session has it: a device tells of all that it holds."""
        if measurement.total and measured_at not in self._known:
            self._known.add(measured_at)
            self._references.append(ReferenceTiming(measured_at=measured_at, total=measurement.total))

    def end(self, after: DeviceState) -> None:
        """Complete the session in the file."""
        whole = [line for line in read_lines(self._path)[0] if json.loads(line)["session"] != self.record.session]
        self.record = self.record.model_copy(update={"after": after, "references": tuple(self._references)})
        atomic_write(self._path, b"".join(line + b"\n" for line in [*whole, self.record.model_dump_json().encode()]))


def read_sessions(dataset_path: Path) -> tuple[SessionRecord, ...]:
    """The sessions of a dataset, oldest first.

    Raises
    ------
    StaleInputError
        If a line is corrupt.
    """
    path = dataset_path.parent / NAME
    try:
        return tuple(parse(SessionRecord, json.loads(line), str(path)) for line in read_lines(path)[0])
    except (ValueError, ConfigError) as error:
        raise StaleInputError(f"{path} is corrupt ({error}); delete it and run `mosdeploy profile` again") from error


def floor_percent(dataset_path: Path) -> float | None:
    """How far apart repeats of one subnet lie in a dataset: the spread of its reference, None without two timings.

    Raises
    ------
    StaleInputError
        If the file of the sessions is corrupt.
    """
    times_ms = [timing.total.median_ms for session in read_sessions(dataset_path) for timing in session.references]
    return spread_percent(times_ms) if len(times_ms) >= 2 else None


def spread_percent(times_ms: Sequence[float]) -> float:
    """Mean distance from the median, in percent of it.

    A predictor that knows the median is wrong by this much on average, so no other can be better.
    """
    middle_ms = statistics.median(times_ms)
    return 100 * statistics.fmean(abs(time_ms - middle_ms) for time_ms in times_ms) / middle_ms
