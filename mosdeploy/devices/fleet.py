"""The same measurements on several boards of one kind at once: one thread a board, one queue for
all.

In: boards, keys and how to build their models. Out: `Event`s, in the caller's thread. Each board
keeps to the protocol of `measure.py` with a reference and results of its own; a board that fails
gives its unfinished work back.
"""

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..config.device import DeviceProfile
from ..errors import DeviceError
from ..records import DeviceState, Measurement
from ..spaces.spec import Workload
from .connect import LastingSession
from .events import Accepted, Event, Failed, Finished, Message, ResultReceived, Started, Uploading
from .job import AgentJob
from .measure import collect
from .probe import probe
from .queue import WAIT_S, WorkQueue
from .session import Session

STOP_S = 10.0
"""How long boards may take to end their agents when the work is broken off; theirs go on that do
not manage.
"""


@dataclass(frozen=True)
class Board:
    """One device of a fleet.

    Attributes
    ----------
    profile
        That of the fleet, with the board's own `host`.
    connect
        Opens a session to the board; called again after a cut.
    last_state
        What the board said before its last session, if it had one: an agent that still works from
        then is not disturbed by asking again.
    """

    profile: DeviceProfile
    connect: Callable[[], Session]
    last_state: DeviceState | None = None

    @property
    def host(self) -> str:
        """The board's name."""
        return self.profile.host_alias


@dataclass(frozen=True)
class Task:
    """What all boards measure, as `measure.collect` takes it; `build` is called from several
    threads.
    """

    workload: Workload
    vocab_size: int
    job_id: str
    build: Callable[[str], bytes]
    weights_bytes: int


def measure_fleet(boards: Sequence[Board], keys: Iterable[str], task: Task) -> Generator[Event]:
    """Measure every key on one of the boards.

    First each board is asked what it has measured for the task's job or is about to: that is its to
    deliver, so that nobody measures again what a killed run left. Ctrl-C, like closing the
    iterator, ends the agents; finished measurements stay on the boards.

    Yields
    ------
    Event
        What happens, in the caller's thread; of each board in the order in which it happened there.

    Raises
    ------
    DeviceError
        If every board failed before all was measured: the error itself of a single one, else one
        that names each cause.
    """
    threads: list[threading.Thread] = []
    wanted = tuple(dict.fromkeys(keys))
    hosts = [board.host for board in boards]
    work = WorkQueue(wanted, hosts, boards[0].profile.measure.reference_every, task.job_id)
    events: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()
    interrupted = threading.Event()
    errors: dict[str, DeviceError] = {}
    try:
        for board in boards:
            thread = threading.Thread(
                target=_serve, args=(board, task, set(wanted), work, events.put, interrupted)
            )
            thread.daemon = True  # a board that does not answer is no reason to stay
            threads.append(thread)
            thread.start()
        for event in _until_all_left(events, threads):
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


def _until_all_left(
    events: "queue.SimpleQueue[Event | BaseException | None]", threads: Sequence[threading.Thread]
) -> Iterator[Event]:
    """Yield events until every thread has put its None; raise what a thread did not expect."""
    num_here = len(threads)
    while num_here:
        try:
            event = events.get(timeout=WAIT_S)
        except queue.Empty:
            continue
        if event is None:
            num_here -= 1
        elif isinstance(event, BaseException):
            raise event
        else:
            yield event


def _serve(
    board: Board,
    task: Task,
    wanted: set[str],
    work: WorkQueue,
    tell: Callable[[Event | BaseException | None], None],
    interrupted: threading.Event,
) -> None:
    """Work for one board, in a thread of its own, until nothing is left to measure or the board
    fails.
    """

    def pause(wait_s: float) -> None:
        if interrupted.wait(wait_s):
            raise KeyboardInterrupt

    try:
        with LastingSession(
            board.connect, lambda message: tell(Message(board.host, message)), pause
        ) as session:
            held, state = _ask(session, board, task.job_id, wanted)
            work.claim(board.host, held)
            while keys := work.take(board.host):
                tell(Started(board.host, state))
                for key, measurement in _measure(session, board, task, keys, tell, pause):
                    tell(Accepted(board.host, key, measurement))
                    work.settle(board.host, key)
                tell(Finished(board.host, probe(session, board.profile)))
    except DeviceError as error:
        tell(Failed(board.host, error))
    except KeyboardInterrupt:  # from `pause`: the agent has been ended
        pass
    except BaseException as error:
        tell(error)
    finally:
        work.remove_worker(board.host)
        tell(None)


def _ask(
    session: Session, board: Board, job_id: str, wanted: set[str]
) -> tuple[set[str], DeviceState]:
    """Ask a board which of the wanted keys it holds, and what it is; refuse one that measures for
    somebody else.

    Nothing is probed while a measurement runs. An agent of ours whose work others have done
    meanwhile is ended.
    """
    job = AgentJob(session, board.profile, job_id)
    job.refuse_if_busy()
    held = job.claimed_keys() & wanted
    if job.is_running():
        if held and board.last_state:
            return held, board.last_state
        if not held:
            job.kill()
    return held, probe(session, board.profile)


def _measure(
    session: Session,
    board: Board,
    task: Task,
    keys: Sequence[str],
    tell: Callable[[Event], None],
    pause: Callable[[float], None],
) -> Iterator[tuple[str, Measurement]]:
    def build(key: str) -> bytes:
        tell(Uploading(board.host, key))
        return task.build(key)

    return collect(
        session,
        board.profile,
        task.workload,
        task.vocab_size,
        task.job_id,
        keys,
        build,
        task.weights_bytes,
        notify=lambda message: tell(Message(board.host, message)),
        observe=lambda result: tell(ResultReceived(board.host, result)),
        pause=pause,
    )


def _all_failed(errors: dict[str, DeviceError], num_open: int) -> DeviceError:
    if len(errors) == 1:
        return next(iter(errors.values()))
    causes = "; ".join(f"{host}: {error}" for host, error in errors.items())
    return DeviceError(
        f"every board failed, {num_open} subnets are not measured ({causes}); what was measured is kept: run the same "
        "command again"
    )
