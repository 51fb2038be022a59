"""The same measurements on several boards of one kind at once: one thread a board, one queue for
all.
"""

import queue
import secrets
import shlex
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..config.device import DeviceProfile
from ..errors import CommandError, ConfigError, DeviceError, MosdeployError
from ..records import DeviceState
from .connect import LastingSession
from .events import (
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
from .job import AgentJob
from .measure import collect
from .probe import check_ready, describe, probe
from .queue import WAIT_S, WorkQueue
from .session import Session, check_run
from .task import MeasureHooks, MeasurementTask

STOP_S = 10.0
"""How long boards may take to end their agents when the work is interrupted; the agents of slower
ones go on.
"""


@dataclass(frozen=True)
class Board:
    """One device of a fleet."""

    profile: DeviceProfile
    connect: Callable[[], Session]
    last_state: DeviceState | None = None
    state: DeviceState | None = None

    @property
    def host(self) -> str:
        """The board's name."""
        return self.profile.host_alias


@dataclass(frozen=True)
class _Twins:
    """Names of one board, of which one alone may measure: the others would in the same folder."""

    token: str
    hosts: frozenset[str]

    def refuse(self, session: Session, job: AgentJob, host: str) -> None:
        """Leave a name in the folder of the job, where no other of this run stands."""
        if len(self.hosts) == 1:
            return
        path = shlex.quote(f"{job.folder}/fleet-{self.token}")
        folder = shlex.quote(job.folder)
        # that of another run goes; the shell makes a new file or none
        command = (
            f'mkdir -p {folder} && for x in {folder}/fleet-*; do [ "$x" = {path} ] || rm -f "$x"; '
            f"done; (set -C; printf %s {shlex.quote(host)} > {path}) 2>/dev/null || cat {path}"
        )
        other = check_run(session, command, "telling boards apart").strip()
        if other != host and other in self.hosts:
            raise CommandError(
                f"{host}: it is the same board and user as {other}, which measures already; name "
                "it once in --hosts"
            )


def measure_fleet(
    boards: Sequence[Board], keys: Iterable[str], task: MeasurementTask
) -> Generator[Event]:
    """Measure every key on one of the boards."""
    unique_keys = tuple(dict.fromkeys(keys))
    hosts = [board.host for board in boards]
    min_batch = boards[0].profile.measure.reference_every
    work = WorkQueue(unique_keys, hosts, min_batch, seed=task.job_id)
    events: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()
    interrupted = threading.Event()
    threads: list[threading.Thread] = []
    errors: dict[str, MosdeployError] = {}
    twins = _Twins(secrets.token_hex(8), frozenset(hosts))
    try:
        for board in boards:
            arguments = (board, task, set(unique_keys), work, events.put, interrupted, twins)
            # A daemon, since the program need not wait for a board that does not answer.
            thread = threading.Thread(target=_run_board, args=arguments, daemon=True)
            threads.append(thread)
            thread.start()
        for event in _until_all_ended(events, len(threads)):
            if isinstance(event, Failed):
                errors[event.host] = event.error
            yield event
    finally:
        interrupted.set()
        work.stop()
        deadline = time.monotonic() + STOP_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
    if work.num_open:
        raise _all_failed(errors, work.num_open)


def _until_all_ended(
    events: "queue.SimpleQueue[Event | BaseException | None]", num_threads: int
) -> Iterator[Event]:
    """Yield events until every thread has put its None; raise an error that a thread did not
    expect.
    """
    while num_threads:
        try:
            event = events.get(timeout=WAIT_S)
        except queue.Empty:
            continue
        if event is None:
            num_threads -= 1
        elif isinstance(event, BaseException):
            raise event
        else:
            yield event


def _run_board(
    board: Board,
    task: MeasurementTask,
    keys: set[str],
    work: WorkQueue,
    emit: Callable[[Event | BaseException | None], None],
    interrupted: threading.Event,
    twins: _Twins,
) -> None:
    """Measure on one board, in a thread of its own, until nothing is left or the board fails."""
    host = board.host

    def notify(message: str) -> None:
        emit(Message(host, message))

    def pause(wait_s: float) -> None:
        if interrupted.wait(wait_s):
            raise KeyboardInterrupt

    def build(key: str) -> bytes:
        emit(Uploading(host, key))
        return task.build(key)

    board_task = replace(task, build=build)
    hooks = MeasureHooks(
        notify,
        observe=lambda result: emit(ResultReceived(host, result)),
        pause=pause,
        repeat=lambda target_counts: emit(Repeating(host, target_counts)),
    )
    try:
        with LastingSession(board.connect, notify, pause) as session:
            job = AgentJob(session, board.profile, task.job_id)
            job.refuse_if_busy()
            twins.refuse(session, job, host)
            held = job.claimed_keys() & keys
            work.claim(host, held)  # the others wait for that
            state = _state_before(session, board, job, held)
            while leased := work.take(host):
                emit(Started(host, state))
                for key, measurement in collect(session, board.profile, board_task, leased, hooks):
                    emit(Accepted(host, key, measurement))
                    work.accept(host, key)
                emit(Finished(host, describe(session, board.profile)))
    except (ConfigError, DeviceError) as error:  # as of what ssh_config says of its host
        emit(Failed(host, error))
    except KeyboardInterrupt:  # from `pause`: the agent has been ended
        pass
    except BaseException as error:
        emit(error)
    finally:
        work.remove_worker(host)
        emit(None)


def _state_before(session: Session, board: Board, job: AgentJob, held: set[str]) -> DeviceState:
    """The state of a board before it measures."""
    if job.is_running():
        if held and board.last_state:
            return board.last_state
        if not held:
            job.kill()
    if board.state is not None:
        return board.state
    state = probe(session, board.profile)
    check_ready(state, board.profile)
    return state


def _all_failed(errors: dict[str, MosdeployError], num_open: int) -> MosdeployError:
    if len(errors) == 1:
        return next(iter(errors.values()))
    causes = "; ".join(f"{host}: {error}" for host, error in errors.items())
    return DeviceError(
        f"every board failed, {num_open} subnets are not measured ({causes}); what was measured is "
        "kept: run the same command again"
    )
