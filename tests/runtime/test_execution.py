"""Threads, groups of inputs, and where the time goes."""

import os
from pathlib import Path

import numpy as np
import pytest

from mosdeploy.runtime import InputError, open_model
from mosdeploy.runtime.execution import Timing, group_by_length, num_threads


def test_parts_are_added_up_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 1.5, 5.0, 10.0, 10.25])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    timing = Timing()
    with timing.measure("total_s"), timing.measure("tokenising_s"):
        timing.num_lines += 2
    with pytest.raises(KeyError), timing.measure("running_s"):
        raise KeyError  # what fails took its time too
    assert (timing.tokenising_s, timing.running_s, timing.total_s) == (0.5, 0.25, 5.0)
    assert str(timing).endswith("total 5000.00 ms for 2 lines, 2500.00 ms a line")
    assert str(Timing()).endswith("for 0 lines, 0.00 ms a line")


def test_as_many_as_are_asked_for() -> None:
    assert num_threads(2, measured=1) == num_threads(np.int64(2), measured=1) == 2
    assert num_threads(None, measured=1) == 1
    # a manifest may say what it likes: there are no more than so many processors
    assert num_threads(None, measured=256) == os.cpu_count()


@pytest.mark.parametrize("asked", ["2", -1, 0, 1.5, True])
def test_what_is_no_number_of_threads(
    encoder_bundle: Path, fp32_bundle: Path, asked: object
) -> None:
    for folder in (encoder_bundle, fp32_bundle):
        with pytest.raises(InputError, match=f"from 1 to 256.* not {asked!r}"):
            open_model(folder, threads=asked)


def test_groups_hold_every_input_once_and_keep_their_limits() -> None:
    lengths = [(37 * i) % 400 for i in range(300)] + [5000]
    groups = group_by_length(lengths, 32, 2048)
    assert sorted(i for group in groups for i in group) == list(range(301))
    for group in groups:
        widest = max(lengths[i] for i in group)
        assert len(group) <= 32 and (len(group) == 1 or len(group) * widest <= 2048)
    assert len(groups) < 60


def test_groups_by_hand() -> None:
    assert group_by_length([2, 5, 0, 5, 1], 2, 9) == [[1], [3], [0, 4], [2]]
    assert group_by_length([], 2, 9) == []
