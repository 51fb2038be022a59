"""What happens on the boards, written down: measurements into the dataset, states and references
into its sessions.
"""

import datetime
from collections import Counter
from collections.abc import Mapping

from ...devices.drift import is_new_session
from ...devices.fleet import (
    Accepted,
    Event,
    Failed,
    Finished,
    Message,
    Repeating,
    ResultReceived,
    Started,
    Uploading,
)
from ...devices.job import AgentResult
from ...devices.on_device.agent import REFERENCE
from ...errors import StaleInputError
from ...latency.dataset import (
    LatencyDataset,
    ProfilingSession,
    board_conditions,
    onnxruntime_version,
)
from ...printable import milliseconds
from ...records import DeviceState, LatencyRecord, Measurement
from ...run_folder.context import Progress
from ...spaces.genes import ArchConfig


class ProfileRecorder:
    """Writes the events of one run down; whoever holds one holds the lock of the dataset."""

    def __init__(
        self,
        dataset: LatencyDataset,
        missing: Mapping[str, ArchConfig],
        progress: Progress,
        *,
        is_fleet: bool,
    ) -> None:
        self.failed_boards: dict[str, str] = {}
        self._dataset = dataset
        self._missing = missing
        self._progress = progress
        self._is_fleet = is_fleet
        self._sessions: dict[str, ProfilingSession] = {}
        self._latest: dict[str, AgentResult] = {}
        self._measured_in: dict[tuple[str, str], str] = {}
        self._uploaded: set[str] = set()
        self._received: set[tuple[str, str, str]] = set()
        self._target_counts = dict.fromkeys(missing, dataset.context.device.measure.rounds)

    def record(self, event: Event) -> None:
        """Write the next event down."""
        match event:
            case Started(host, state):
                if host in self._sessions:
                    self._sessions[host].end(None)
                else:
                    self._sessions[host] = self._begin(host, state)
                    self._tell_of_threads(host, state)
            case Uploading(host, key):
                self._uploaded |= {key} & self._missing.keys()
                self._update("upload to", len(self._uploaded), len(self._missing), host)
            case ResultReceived(host, result):
                self._record_result(host, result)
            case Accepted(host, key, measurement):
                self._append(host, key, measurement)
            case Message(host, message):
                self._progress.say(f"{host}: {message}" if self._is_fleet else message)
            case Repeating(_, target_counts):
                self._target_counts.update(target_counts)
            case Finished(host, state):
                self._end(host, state)
            case Failed(host, error):
                self.failed_boards[host] = str(error)
                if self._is_fleet:
                    self._progress.say(
                        f"{host} failed, what it has not finished goes to the others: {error}"
                    )

    def _session(self, host: str, result: AgentResult) -> ProfilingSession:
        """The session of a result."""
        session = self._sessions[host]
        before = self._latest.get(host, result)
        self._latest[host] = result
        holds_any = session.record.session in self._measured_in.values()
        if is_new_session(before, result) and (holds_any or session.record.references):
            session = self._sessions[host] = self._begin(host, session.record.state)
        return session

    def _begin(self, host: str, state: DeviceState) -> ProfilingSession:
        """Begin a session on a board that is as it was when it measured before."""
        self._dataset.check_board(host, state, is_fleet=self._is_fleet)
        context = self._dataset.context
        return ProfilingSession(
            self._dataset.path,
            host,
            state,
            emulated=context.device.emulated,
            dataset_id=context.dataset_id,
        )

    def _end(self, host: str, state: DeviceState) -> None:
        """End a session, unless a part of it was measured with another runtime."""
        session = self._sessions[host]
        before, after = (board_conditions(x)["ONNX Runtime"] for x in (session.record.state, state))
        if before is not None and after is not None and before != after:
            session.withdraw()
            raise StaleInputError(
                f"ONNX Runtime on {host} was {before} before it measured and is {after} after it: "
                "nobody may run `devices check --setup`, or pip, there meanwhile. What it "
                "measured does not count; run the same command again, which measures it anew"
            )
        session.end(state)

    def _tell_of_threads(self, host: str, state: DeviceState) -> None:
        threads = self._dataset.context.workload.threads
        if state.cores and threads > state.cores:
            self._progress.say(
                f"{host} has {state.cores} cores, [workload] threads is {threads}: these wait for "
                f"one another, and times vary; set it to {state.cores} or fewer"
            )

    def _record_result(self, host: str, result: AgentResult) -> None:
        """Keep a timing of the reference; tell of each of a subnet, once."""
        round_ = (host, result.key, result.measured_at)
        session = self._session(host, result)
        if result.key == REFERENCE:
            session.add_reference(result.measured_at, result.measurement)
        elif result.key in self._missing and round_ not in self._received:
            self._received.add(round_)
            self._measured_in[host, result.key] = session.record.session
            timing = result.measurement.total
            device = self._dataset.context.device
            note = f"failed: {result.measurement.error}"
            if timing is not None:
                note = milliseconds(timing.median_ms)
                note += ", emulated" if device.emulated else ""
            self._tell_result(host, note)

    def _tell_result(self, host: str, note: str) -> None:
        """Tell of a result; those beyond the rounds of a subnet, which moved, come on top."""
        rounds = self._dataset.context.device.measure.rounds
        counts = Counter(key for _, key, _ in self._received)
        num_again = sum(max(0, count - rounds) for count in counts.values())
        if num_again:
            note += f", {num_again} measured anew"
        # another board may begin anew with what one that failed has left
        total = sum(max(count, counts[key]) for key, count in self._target_counts.items())
        self._update("measure on", len(self._received), total, host, note)

    def _append(self, host: str, key: str, measurement: Measurement) -> None:
        session = self._sessions[host].record
        name = self._measured_in.get((host, key), session.session)
        self._dataset.append(
            LatencyRecord(
                arch=self._missing[key],
                measurement=measurement,
                runtime=f"onnxruntime {onnxruntime_version(session.state)}",
                measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                session=name,
            )
        )

    def _update(self, what: str, done: int, total: int, host: str, note: str = "") -> None:
        words = [host, note] if self._is_fleet else [note]
        stage = f"{what} {self._dataset.context.device.name}"
        self._progress.update(stage, done, total, ": ".join(word for word in words if word))
