"""Where the time of answering goes, added up over calls."""

import pytest

from mosdeploy.runtime.timing import Timing


def test_parts_are_added_up_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 1.5, 5.0, 10.0, 10.25])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    timing = Timing()
    with timing.measure("total_s"), timing.measure("tokenising_s"):
        timing.num_lines += 2
    with pytest.raises(KeyError), timing.measure("running_s"):
        raise KeyError  # what fails took its time too
    assert (timing.tokenising_s, timing.running_s, timing.total_s) == (0.5, 0.25, 5.0)
    assert str(timing) == (
        "tokenising 500.00 ms, running 250.00 ms, total 5000.00 ms for 2 lines, 2500.00 ms a line"
    )
    assert str(Timing()).endswith("for 0 lines, 0.00 ms a line")
