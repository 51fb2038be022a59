"""A call into a library that hears no signal can be given up."""

import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from mosdeploy.interruptible import interruptible


class EndedError(Exception):
    pass


@pytest.fixture
def ended_by_a_signal() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise EndedError

    before = signal.signal(signal.SIGUSR1, end)
    yield
    signal.signal(signal.SIGUSR1, before)


def test_an_error_comes_from_where_it_was_raised() -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        interruptible(lambda: 1 // 0)
    assert raised.traceback[-1].name == "<lambda>"


@pytest.mark.usefixtures("ended_by_a_signal")
def test_a_signal_ends_the_wait() -> None:
    is_over = threading.Event()

    def wait() -> None:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        is_over.wait()  # as a library that returns late

    try:
        with pytest.raises(EndedError):
            interruptible(wait)
    finally:
        is_over.set()
