"""The same measurements on several boards of one kind at once: one thread a board, one queue for
all.
"""

import queue
import random
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..config.device import DeviceProfile
from ..errors import CommandError, ConfigError, DeviceError, MosdeployError
from ..records import DeviceState, Measurement
from .connect import LastingSession
from .device import Device
from .job import AgentJob, AgentResult
from .measure import MeasureHooks, MeasurementTask, collect
from .probe import check_ready, describe, probe
from .session import Session, check_run

STOP_S = 10.0
"""How long boards may take to end their agents when the work is interrupted; the agents of slower
ones go on.
"""
WAIT_S = 1.0  # between two looks at a queue, should a notification get lost


# -- events of a board, in the order in which they happen ------------------------------------------


@dataclass(frozen=True)
class Started:
    """A board starts to measure; `state` is from before."""

    host: str
    state: DeviceState


@dataclass(frozen=True)
class Uploading:
    """A model is being built for a board and sent there."""

    host: str
    key: str


@dataclass(frozen=True)
class ResultReceived:
    """A result of the reference, or of a subnet that may not be accepted yet."""

    host: str
    result: AgentResult


@dataclass(frozen=True)
class Accepted:
    """A measurement that counts."""

    host: str
    key: str
    measurement: Measurement


@dataclass(frozen=True)
class Message:
    """One line: the connection was cut, or timings are repeated."""

    host: str
    message: str


@dataclass(frozen=True)
class Repeating:
    """A board measures some keys again, until each has its target count of results."""

    host: str
    target_counts: Mapping[str, int]


@dataclass(frozen=True)
class Finished:
    """A board has measured the keys that it took; `state` is from just after."""

    host: str
    state: DeviceState


@dataclass(frozen=True)
class Failed:
    """A board failed; its unfinished keys go to the others."""

    host: str
    error: MosdeployError


Event = Started | Uploading | ResultReceived | Accepted | Message | Repeating | Finished | Failed


# -- the boards ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Board:
    """One device of a fleet; `last_state` is from its last session, `state` from just now."""

    profile: DeviceProfile
    connect: Callable[[], Session]
    last_state: DeviceState | None = None
    state: DeviceState | None = None

    @property
    def host(self) -> str:
        """The board's name."""
        return self.profile.host_alias


def measure_fleet(
    boards: Sequence[Board], keys: Iterable[str], task: MeasurementTask
) -> Generator[Event]:
    """Measure every key on one of the boards."""
    unique_keys = tuple(dict.fromkeys(keys))
    min_batch = boards[0].profile.measure.reference_every
    work = WorkQueue(unique_keys, [board.host for board in boards], min_batch, seed=task.job_id)
    fleet = _Fleet(task, set(unique_keys), work)
    # daemons, since the program need not wait for a board that does not answer
    threads = [threading.Thread(target=fleet.run, args=(x,), daemon=True) for x in boards]
    errors: dict[str, MosdeployError] = {}
    try:
        for thread in threads:
            thread.start()
        for event in fleet.until_all_ended(len(threads)):
            if isinstance(event, Failed):
                errors[event.host] = event.error
            yield event
    finally:
        fleet.interrupted.set()
        work.stop()
        deadline = time.monotonic() + STOP_S
        for thread in threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
    if work.num_open and len(errors) == 1:
        raise next(iter(errors.values()))
    if work.num_open:
        causes = "; ".join(f"{host}: {error}" for host, error in errors.items())
        raise DeviceError(
            f"every board failed, {work.num_open} subnets are not measured ({causes}); what was "
            "measured is kept: run the same command again"
        )


@dataclass(frozen=True)
class _Fleet:
    """What the threads of the boards share."""

    task: MeasurementTask
    keys: set[str]
    work: "WorkQueue"
    # None is the end of a thread, an exception one that a thread did not expect
    events: "queue.SimpleQueue[Event | BaseException | None]" = field(
        default_factory=queue.SimpleQueue
    )
    interrupted: threading.Event = field(default_factory=threading.Event)
    hosts: dict[str, str] = field(default_factory=dict)  # by what identifies a board

    def until_all_ended(self, num_threads: int) -> Iterator[Event]:
        """Yield events until every thread has ended."""
        while num_threads:
            try:
                event = self.events.get(timeout=WAIT_S)
            except queue.Empty:
                continue
            if event is None:
                num_threads -= 1
            elif isinstance(event, BaseException):
                raise event
            else:
                yield event

    def run(self, board: Board) -> None:
        """Measure on one board, in a thread of its own, until nothing is left or it fails."""
        emit = self.events.put
        host = board.host

        def notify(message: str) -> None:
            emit(Message(host, message))

        def pause(wait_s: float) -> None:
            if self.interrupted.wait(wait_s):
                raise KeyboardInterrupt

        def build(key: str) -> bytes | str:
            emit(Uploading(host, key))
            return self.task.build(key)

        task = replace(self.task, build=build)
        hooks = MeasureHooks(
            notify,
            observe=lambda result: emit(ResultReceived(host, result)),
            pause=pause,
            repeat=lambda target_counts: emit(Repeating(host, target_counts)),
        )
        try:
            with LastingSession(board.connect, notify, pause) as session:
                device = Device(session, board.profile)
                job = AgentJob(device, self.task.job_id)
                job.refuse_if_busy()
                self._refuse_duplicate(device, host)
                held = job.claimed_keys() & self.keys
                self.work.claim(host, held)  # the others wait for that
                state = _state_before(device, board, job, held)
                while leased := self.work.take(host):
                    emit(Started(host, state))
                    for key, found in collect(device, task, leased, hooks):
                        emit(Accepted(host, key, found))
                        self.work.accept(host, key)
                    emit(Finished(host, describe(device)))
        except (ConfigError, DeviceError) as error:  # a host may be missing in the ssh config
            emit(Failed(host, error))
        except KeyboardInterrupt:  # from `pause`: the agent has been ended
            pass
        except BaseException as error:
            emit(error)
        finally:
            self.work.remove_worker(host)
            emit(None)

    def _refuse_duplicate(self, device: Device, host: str) -> None:
        """Refuse a second name of a board: both would measure in one folder."""
        folder = device.work_dir()
        # its start, and a file that no other board has
        command = ["sh", "-c", 'cat /proc/sys/kernel/random/boot_id; uname -n; ls -di "$0"', folder]
        identity = check_run(device.session, command, "telling boards apart")
        other = self.hosts.setdefault(identity, host)
        if other != host:
            raise CommandError(
                f"{host}: it is the same board and user as {other}, which measures already; "
                "name it once in --hosts"
            )


def _state_before(device: Device, board: Board, job: AgentJob, held: set[str]) -> DeviceState:
    """The state of a board before it measures."""
    if job.is_running():
        if held and board.last_state:
            return board.last_state
        if not held:
            job.kill()
    if board.state is not None:
        return board.state
    state = probe(device)
    check_ready(state, board.profile)
    return state


# -- the queue -------------------------------------------------------------------------------------


class WorkQueue:
    """Keys that wait, and those that each board has taken; any thread may call any method."""

    def __init__(
        self, keys: Iterable[str], hosts: Iterable[str], min_batch: int, seed: str
    ) -> None:
        self._waiting = list(keys)
        random.Random(seed).shuffle(self._waiting)
        self._leased: dict[str, list[str]] = {host: [] for host in hosts}
        self._unreported = set(self._leased)
        self._min_batch = min(min_batch, self._even_share())
        self._changed = threading.Condition()
        self._stopped = False

    def claim(self, host: str, keys: Iterable[str]) -> None:
        """Lease to a board those of the waiting keys that it holds already; each board reports
        once, before it takes any.
        """
        with self._changed:
            self._unreported.discard(host)
            held = set(keys)
            self._leased[host] = [key for key in self._waiting if key in held]
            self._waiting = [key for key in self._waiting if key not in held]
            self._changed.notify_all()

    def take(self, host: str) -> tuple[str, ...]:
        """Lease keys to a board; none when all is over."""
        with self._changed:
            while not self._stopped:
                if not self._unreported:
                    self._lease_share(host)
                    if self._leased[host]:
                        return tuple(self._leased[host])
                    if not any(self._leased.values()):
                        break
                self._changed.wait(WAIT_S)
            return ()

    def accept(self, host: str, key: str) -> None:
        """Take a leased key off the queue: its measurement is accepted."""
        with self._changed:
            self._leased[host].remove(key)
            self._changed.notify_all()

    def remove_worker(self, host: str) -> None:
        """Take a board out that measures no more; its leased keys wait for the others."""
        with self._changed:
            self._unreported.discard(host)
            self._waiting += self._leased.pop(host)
            self._changed.notify_all()

    def stop(self) -> None:
        """Hand out nothing any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    @property
    def num_open(self) -> int:
        """How many keys are not accepted yet."""
        with self._changed:
            return len(self._waiting) + sum(map(len, self._leased.values()))

    def _even_share(self) -> int:
        return -(-len(self._waiting) // len(self._leased))  # rounded up

    def _lease_share(self, host: str) -> None:
        if not self._leased[host]:
            size = max(self._min_batch, self._even_share())
            self._leased[host] = self._waiting[:size]
            self._waiting = self._waiting[size:]
