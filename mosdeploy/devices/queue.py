"""The queue that the boards of a fleet share: what is still to be measured, and who has what in
hand.

In: keys, and what boards say from their threads. Out: the next keys for a board. Nothing is
measured here.
"""

import random
import threading
from collections.abc import Iterable

WAIT_S = 1.0  # between two looks at the queue, should a call that it changed get lost


class WorkQueue:
    """Keys that wait, and those that each board has in hand; every method may be called from any
    thread.

    A board takes its share of what waits, so that a long queue costs few starts of the agent and
    boards of unlike speed end together; a share is never smaller than what lies between two timings
    of the reference. A single board takes all. Nothing is handed out before every board has told
    what it holds from an earlier run.

    Parameters
    ----------
    keys
        What is to be measured.
    hosts
        The boards.
    min_batch
        Smallest share, while there is so much for every board.
    seed
        The keys wait in an order drawn by it: each board gets subnets of every kind.
    """

    def __init__(
        self, keys: Iterable[str], hosts: Iterable[str], min_batch: int, seed: str
    ) -> None:
        self._waiting = list(keys)
        random.Random(seed).shuffle(self._waiting)
        self._leased: dict[str, list[str]] = {host: [] for host in hosts}
        self._unreported = set(self._leased)
        self._least = min(min_batch, -(-len(self._waiting) // len(self._leased)))
        self._changed = threading.Condition()
        self._stopped = False

    def claim(self, host: str, keys: Iterable[str]) -> None:
        """Give a board those of the waiting keys that it holds already; each board says so once,
        before it takes.
        """
        with self._changed:
            self._unreported.discard(host)
            held = set(keys)
            self._leased[host] = [key for key in self._waiting if key in held]
            self._waiting = [key for key in self._waiting if key not in held]
            self._changed.notify_all()

    def take(self, host: str) -> tuple[str, ...]:
        """Keys for a board; none when all is over. Waits while others may still give something
        back.
        """
        with self._changed:
            while not self._stopped:
                if not self._unreported:
                    self._share_out(host)
                    if self._leased[host]:
                        return tuple(self._leased[host])
                    if not any(self._leased.values()):
                        break
                self._changed.wait(WAIT_S)
            return ()

    def settle(self, host: str, key: str) -> None:
        """A board has measured a key."""
        with self._changed:
            self._leased[host].remove(key)
            self._changed.notify_all()

    def remove_worker(self, host: str) -> None:
        """A board measures no more; what it had in hand waits for the others."""
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
        """How many keys are not settled."""
        with self._changed:
            return len(self._waiting) + sum(map(len, self._leased.values()))

    def _share_out(self, host: str) -> None:
        if not self._leased[host]:
            size = max(self._least, -(-len(self._waiting) // len(self._leased)))
            self._leased[host], self._waiting = self._waiting[:size], self._waiting[size:]
