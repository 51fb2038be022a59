"""What was measured on one device in one workload: its subnets, sessions and conditions."""

import datetime
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ..config.device import MeasureProtocol
from ..errors import (
    ConfigError,
    OtherConditionsError,
    PredictorError,
    StaleInputError,
    UnknownKeyError,
)
from ..record import Record, parse_json
from ..records import (
    BoardCalibration,
    DeviceState,
    LatencyContext,
    LatencyRecord,
    Measurement,
    ReferenceTiming,
    SessionCalibration,
    SessionRecord,
)
from ..spaces import ModelSpec
from ..spaces.genes import ArchConfig, GeneArray
from ..spaces.spec import CostedSpace
from ..storage import append_line, atomic_write, fingerprint, read_lines, sha256_bytes
from .calibration import (
    calibrate_boards,
    calibrate_sessions,
    noise_floor_percent,
    warn_of_differences,
    within_sessions,
)

UNTOLD = ("candidate_timeout_s",)
"""Keys of the protocol that change no time, only how long one is waited for."""

SHARED = ("machine", "ONNX Runtime")
"""What the boards of a fleet have in common; each has its own processor, or revision of it."""


def context_differences(found: LatencyContext, wanted: LatencyContext) -> list[str]:
    """What keeps measurements of one context from being continued in another, in words."""
    pairs: list[tuple[str, object, object]] = [
        ("search space", found.space_sha256[:12], wanted.space_sha256[:12]),
        ("vocabulary size", found.vocab_size, wanted.vocab_size),
        ("graph", found.graph_sha256[:12], wanted.graph_sha256[:12]),
        ("machine id", found.machine_id, wanted.machine_id),
    ]
    pairs += found.workload.beside(wanted.workload)
    pairs += [
        # what changes the times; the same board may be reached in another way
        (f"device {key}", getattr(found.device, key), getattr(wanted.device, key))
        for key in ("name", "kind", "provider", "emulated")
    ]
    pairs += [
        (f"measure.{key}", getattr(found.device.measure, key), getattr(wanted.device.measure, key))
        for key in MeasureProtocol.model_fields
        if key not in UNTOLD
    ]
    return [f"{name} is {old} there and {new} now" for name, old, new in pairs if old != new]


def board_differences(
    sessions: Sequence[SessionRecord], host: str, state: DeviceState, *, is_fleet: bool
) -> list[str]:
    """How a board that is about to measure differs from those that measured before, in words."""
    now = board_conditions(state)
    if now["ONNX Runtime"] is None:
        return []  # nothing can be measured now, and measuring says why
    is_known = any(session.host == host for session in sessions)
    found: dict[str, None] = {}
    for session in sessions:
        then = board_conditions(session.state)
        if then["ONNX Runtime"] is None:
            continue  # nothing could be measured in it
        is_same_board = session.host == host or not (is_known or is_fleet)
        for name in now if is_same_board else SHARED:
            if then[name] != now[name]:
                found[f"{name} was {then[name]}, is {now[name]} now"] = None
    return list(found)


def board_conditions(state: DeviceState) -> dict[str, str | None]:
    """What the times of a board depend on, as far as it tells: None where it does not."""
    version = onnxruntime_version(state)
    return {
        "machine": state.machine,
        "processor": state.cpu_model,
        # what follows the name are clocks and temperatures
        "GPU": state.gpu and state.gpu.split(",")[0],
        # versions that differ in the third number are taken to be equally fast
        "ONNX Runtime": version and minor_version(version),
    }


def onnxruntime_version(state: DeviceState) -> str | None:
    """Version of the build of ONNX Runtime that the device has, such as `onnxruntime-gpu`."""
    builds = (name for name in sorted(state.packages) if name.startswith("onnxruntime"))
    return state.packages.get(next(builds, ""))


def minor_version(runtime: str) -> str:
    """A version, with or without a name before it, up to its second number: "1.20" of "1.20.0"."""
    return ".".join(runtime.split(".")[:2])


def runtime_family(runtime: str) -> str:
    """The first word of a runtime's name: "onnxruntime" of "onnxruntime 1.20.0"."""
    return runtime.split(maxsplit=1)[0] if runtime else ""


def one_runtime(records: Iterable[LatencyRecord], path: Path, device: str) -> str:
    """Return the runtime that measured the records of a file, its versions joined by commas."""
    runtimes = sorted({record.runtime for record in records})
    # the features do not tell runtimes apart, so that one fit over two would be right for neither;
    # versions that differ in the third number are taken to be equally fast
    if len({minor_version(runtime) for runtime in runtimes}) > 1:
        raise PredictorError(
            f"{path} mixes the runtimes {' and '.join(runtimes)}; move the folder {path.parent} "
            f"away and run `mosdeploy profile --device {device}` again"
        )
    return ", ".join(runtimes)


SESSIONS_NAME = "sessions.jsonl"

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
        self._path = dataset_path.parent / SESSIONS_NAME
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

    def end(self, after: DeviceState | None) -> None:
        """Keep the state of the board now; None takes the end back: there is more to measure."""
        if self.record.after != after:
            self._replace(after=after)

    def withdraw(self) -> None:
        """Forget the session: what was measured in it no longer counts, and is measured again."""
        _write(self._path, self.record.session, None)

    def _replace(self, **changes: object) -> None:
        self.record = self.record.model_copy(update=changes)
        _write(self._path, self.record.session, self.record)


def end_session(dataset_path: Path, session: SessionRecord, after: DeviceState) -> None:
    """Write down that nothing is left on the board of a session that was killed. Only the holder
    of the dataset's lock may call this.
    """
    ended = session.model_copy(update={"after": after})
    _write(dataset_path.parent / SESSIONS_NAME, session.session, ended)


def _write(path: Path, name: str, record: SessionRecord | None) -> None:
    """Put a record, or nothing, in the place of the session of a name."""
    own = b"" if record is None else record.model_dump_json().encode() + b"\n"
    # other sessions' lines stay byte for byte
    lines = (
        own if json.loads(line)["session"] == name else line + b"\n" for line in read_lines(path)[0]
    )
    atomic_write(path, b"".join(lines))


def read_sessions(dataset_path: Path) -> tuple[SessionRecord, ...]:
    """The profiling sessions of a dataset, oldest first."""
    path = dataset_path.parent / SESSIONS_NAME
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


@dataclass(frozen=True)
class Samples:
    """What a fit takes of a dataset."""

    spec: ModelSpec
    genes: GeneArray
    latency_ms: npt.NDArray[np.float64]
    sample_weight: npt.NDArray[np.float64]
    runtime: str


@dataclass
class LatencyDataset:
    """The records of one device and workload, in the order in which they were measured."""

    path: Path
    context: LatencyContext
    records: list[LatencyRecord] = field(default_factory=list)
    torn: bool = False
    _sessions: tuple[SessionRecord, ...] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def open(cls, path: Path, context: LatencyContext) -> "LatencyDataset":
        """Open a dataset for appending; make it if there is none. Opening twice changes nothing."""
        lines, torn = read_lines(path)
        if not lines:
            # before anything is measured, so that no record is without a context
            append_line(path, context)
            return cls(path, context, torn=torn)
        dataset = cls._read(path, lines, torn)
        # the ids of the two contexts may differ: the file keeps its own
        dataset.check(context)
        return dataset

    @classmethod
    def load(cls, path: Path) -> "LatencyDataset":
        """Read a dataset that must exist, as it is now: what is written later is not seen."""
        lines, torn = read_lines(path)
        if not lines:
            raise StaleInputError(f"{path} holds no measurements; run `mosdeploy profile` first")
        dataset = cls._read(path, lines, torn)
        dataset._sessions = dataset.sessions  # once, after the records, whose sessions are there
        return dataset

    @classmethod
    def _read(cls, path: Path, lines: list[bytes], torn: bool) -> "LatencyDataset":
        # a lost record costs one measurement, a lost context leaves none with a meaning
        remedy = "move the file away and run `mosdeploy profile` again"
        place = f"{path}, line 1"
        context = parse_line(LatencyContext, lines[0], place, holder="the file", remedy=remedy)
        remedy = (
            "delete that line, and `mosdeploy profile`, of finalists `mosdeploy search`, measures "
            "its subnet again"
        )
        records = [
            parse_line(LatencyRecord, line, f"{path}, line {i}", holder="the file", remedy=remedy)
            # as an editor counts: the context is line 1
            for i, line in enumerate(lines[1:], start=2)
        ]
        return cls(path, context, records=records, torn=torn)

    def check(self, context: LatencyContext) -> None:
        """Make sure that what is measured in a context may be put beside what is here."""
        self._refuse(context_differences(self.context, context))

    def check_board(self, host: str, state: DeviceState, *, is_fleet: bool = False) -> None:
        """Make sure that a board is as it was when it measured what is here."""
        found = board_differences(self.sessions, host, state, is_fleet=is_fleet)
        self._refuse([f"on {host}, {difference}" for difference in found])

    def _refuse(self, differences: Sequence[str]) -> None:
        if differences:
            raise OtherConditionsError(
                f"{self.path} was measured for something else: {'; '.join(differences)}",
                f". Move the folder {self.path.parent} away, or change workload.name in "
                "mosdeploy.toml, and run `mosdeploy profile` again; with --renew it measures all "
                "again here",
            )

    def append(self, record: LatencyRecord) -> None:
        """Write one record and force it to disk before returning."""
        # first on disk: where that fails, the record is not in memory either
        append_line(self.path, record)
        self.records.append(record)
        self.torn = False

    @property
    def measured(self) -> dict[str, LatencyRecord]:
        """The latest record of each architecture, by its key, failed measurements included."""
        # a later record takes the place of an earlier one, whose position in the order it keeps
        return {record.arch.key: record for record in self.records}

    def missing(self, archs: Iterable[ArchConfig]) -> dict[str, ArchConfig]:
        """Those of some architectures that have no time here, or one of a session that is lost."""
        sessions = self._hosts()
        timed = {x.arch.key for x in self.usable if x.session in sessions}
        attempts = Counter(x.arch.key for x in self.records)
        return {
            f"{arch.key}-{attempts[arch.key]}" if attempts[arch.key] else arch.key: arch
            for arch in archs
            if arch.key not in timed
        }

    @property
    def times_ms(self) -> list[float]:
        """Median latency of each of the usable records."""
        return [r.measurement.total.median_ms for r in self.usable if r.measurement.total]

    @property
    def usable(self) -> list[LatencyRecord]:
        """The latest record of each architecture whose measurement has a time: what a predictor is
        fitted on.
        """
        return [
            r
            for r in self.measured.values()
            if r.measurement.error is None and r.measurement.total is not None
        ]

    @property
    def boards(self) -> tuple[BoardCalibration, ...]:
        """The boards of a fleet, each with its times of the reference; none where a single board
        measured.
        """
        hosts = self._hosts()
        num_subnets = Counter(
            hosts[record.session] for record in self.usable if record.session in hosts
        )
        return calibrate_boards(self._fitted_sessions, num_subnets, self.rescaled_sessions)

    @property
    def rescaled_sessions(self) -> tuple[SessionCalibration, ...]:
        """Sessions in which the reference took another time than in the newest of their board."""
        num_subnets = Counter(record.session for record in self.usable)
        return calibrate_sessions(self._fitted_sessions, num_subnets, self._most_percent)

    def time_ratios(self, records: Sequence[LatencyRecord]) -> npt.NDArray[np.float64]:
        """Time ratio, shape (N,), of the board, the session and the part of it that measured each
        record: 1 where it is unknown, or there is nothing to compare with.
        """
        hosts = self._hosts()
        boards = {x.host: x.time_ratio or 1.0 for x in self.boards}  # not of an unknown speed
        sessions = {x.session: x.time_ratio for x in self.rescaled_sessions}
        of_boards = [boards.get(hosts.get(x.session, ""), 1.0) for x in records]
        of_sessions = [sessions.get(x.session, 1.0) for x in records]
        return np.array(of_boards, dtype=np.float64) * of_sessions * self._levels(records)

    def _levels(self, records: Sequence[LatencyRecord]) -> list[float]:
        """Time ratio of the part of a session in which each record was measured."""
        return within_sessions(records, self.sessions, self._most_percent)

    @property
    def noise_floor_percent(self) -> float | None:
        """How far apart repeats of one subnet on one board lie, as they are fitted; None without
        two timings of the reference there.
        """
        return noise_floor_percent(
            self._fitted_sessions, self.rescaled_sessions, most_percent=self._most_percent
        )

    @property
    def _most_percent(self) -> float:
        """How far the reference may move before it counts as another level."""
        return self.context.device.measure.max_drift_percent

    @property
    def _fitted_sessions(self) -> tuple[SessionRecord, ...]:
        """Those that measured what is fitted; all where none did."""
        names = {record.session for record in self.usable}
        return tuple(x for x in self.sessions if x.session in names) or self.sessions

    @property
    def sessions(self) -> tuple[SessionRecord, ...]:
        """The profiling sessions of this dataset, oldest first."""
        if self._sessions is not None:
            return self._sessions
        # the datasets of one folder share a file
        own = self.context.dataset_id
        return tuple(x for x in read_sessions(self.path) if x.dataset_id == own)

    def _hosts(self) -> dict[str, str]:
        """The board of each session, by the session's name."""
        return {x.session: x.host for x in self.sessions}

    def samples(self, space: CostedSpace) -> Samples:
        """Gather what a predictor may be fitted on."""
        device = self.context.device
        if device.emulated:
            raise PredictorError(
                f"{device.name} is an emulated device: its times mean nothing, so no predictor is "
                f"fitted on {self.path}; profile a real device"
            )
        if self.context.space_sha256 != fingerprint(space):
            raise StaleInputError(
                f"{self.path} was measured for another search space; restore [space] in "
                "mosdeploy.toml, or move the folder away and run `mosdeploy profile` again"
            )
        usable = self.usable
        hosts = self._hosts()
        num_lost = sum(record.session not in hosts for record in usable)
        if num_lost:
            raise StaleInputError(
                f"{self.path}: {num_lost} subnets were measured in sessions that are not in "
                f"{SESSIONS_NAME} beside it, so that nobody knows on which board; run `mosdeploy "
                f"profile --device {device.name}` again, which measures them again"
            )
        limit_percent = device.measure.max_drift_percent
        runtime = one_runtime(usable, self.path, self.context.device.name)
        warn_of_differences(self.boards, limit_percent)
        # 1 is the largest drift that the protocol accepts; an unknown drift counts as none
        drift = np.array([r.measurement.drift_percent or 0.0 for r in usable]) / limit_percent
        # the drift adds its variance to that of a measurement whose reference did not move
        return Samples(
            spec=ModelSpec(space, self.context.vocab_size, self.context.workload),
            genes=space.genes([r.arch for r in usable]),
            latency_ms=np.array(self.times_ms, dtype=np.float64) / self.time_ratios(usable),
            sample_weight=1.0 / (1.0 + drift**2),
            runtime=runtime,
        )

    @property
    def sha256(self) -> str:
        """Hex SHA-256 over the context, the usable records and what their times are divided by:
        what a predictor was made from.
        """
        parts = (self.context, *self.usable, *self.boards, *self.rescaled_sessions)
        lines = [part.model_dump_json() for part in parts]
        if set(ratios := self._levels(self.usable)) - {1.0}:
            lines.append(json.dumps(ratios))
        return sha256_bytes("\n".join(lines).encode())
