"""The queue that the boards of a fleet share: which keys wait, and which are leased to a board."""

import random
import threading
from collections.abc import Iterable

WAIT_S = 1.0  # between two looks at the queue, should a notification get lost


class WorkQueue:
    """Keys that wait, and those that are leased to each board; every method may be called from any
    thread.
    """

    def __init__(
        self, keys: Iterable[str], hosts: Iterable[str], min_batch: int, seed: str
    ) -> None:
        self._waiting = list(keys)
        random.Random(seed).shuffle(self._waiting)
        self._leased: dict[str, list[str]] = {host: [] for host in hosts}
        self._unreported = set(self._leased)
        even_share = -(-len(self._waiting) // len(self._leased))  # rounded up
        self._min_batch = min(min_batch, even_share)
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

    def _lease_share(self, host: str) -> None:
        if not self._leased[host]:
            even_share = -(-len(self._waiting) // len(self._leased))  # rounded up
            size = max(self._min_batch, even_share)
            self._leased[host] = self._waiting[:size]
            self._waiting = self._waiting[size:]
