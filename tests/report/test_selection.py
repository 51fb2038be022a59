import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import LIMIT_MS, full_inputs, inputs_of, search_result

from mosdeploy.records import Limits
from mosdeploy.report.selection import Axis, axes_of

positive = st.floats(1e-3, 1e6)


def axis_over(*needed: float | None, limit: float | None = None) -> Axis:
    return Axis("size", "size", "MiB", needed, needed, (None,) * len(needed), limit)


def test_there_is_an_axis_for_each_device_and_each_cost() -> None:
    inputs = full_inputs()
    axes = {x.name: x for x in axes_of(inputs.choices, inputs.search, ", emulated")}
    assert list(axes) == ["latency:rpi", "latency:xeon", "parameters", "size", "memory"]
    assert axes["latency:rpi"].title == "latency on rpi, emulated"
    assert axes["latency:xeon"].title == "latency on xeon"
    assert [x.limit for x in axes.values()] == [LIMIT_MS, None, None, None, None]
    first = inputs.choices[0]
    assert axes["parameters"].needed[0] == first.num_parameters / 1e6
    assert axes["memory"].needed[0] == (first.memory_bytes or 0) / 2**20
    # a process takes more than predicted: one that was measured as measured, others by as much
    more = 20 * 2**20
    took = first.model_copy(update={"measured_memory_bytes": (first.memory_bytes or 0) + more})
    *_, memory = axes_of((took, *inputs.choices[1:]), inputs.search)
    assert memory.title == "memory of the process"
    assert memory.measured[0] == memory.needed[0] == axes["memory"].needed[0] + 20
    assert memory.drawn == tuple(mib + 20 for mib in axes["memory"].drawn)
    assert memory.needed[1:] == memory.drawn[1:]


def test_limits_stand_on_the_axis_that_they_are_about() -> None:
    limits = Limits(max_parameters=3_000_000, max_size_bytes=2**23, max_memory_bytes=2**24)
    search = search_result().model_copy(update={"limits": limits})
    axes = axes_of(full_inputs().choices, search)
    assert [x.limit for x in axes] == [None, None, 3.0, 8.0, 16.0]


def test_a_tail_is_called_so() -> None:
    search = search_result().model_copy(update={"statistic": "p90"})
    titles = [x.title for x in axes_of(full_inputs().choices, search, ", emulated")][:2]
    assert titles == ["p90 of the latency on rpi, emulated", "p90 of the latency on xeon"]


def test_a_limit_far_above_all_is_left_out() -> None:
    choices = full_inputs().choices
    slowest = max(x.latencies[0].needed_ms or 0.0 for x in choices)
    for factor, is_near in ((1.4, True), (1.6, False)):
        [axis, *_] = axes_of(choices, search_result(limit_ms=factor * slowest))
        assert (axis.limit is not None) is is_near


def test_a_search_without_latencies_has_none_to_limit() -> None:
    search = search_result(limit_ms=None)
    front = tuple(x.model_copy(update={"predicted_ms": None}) for x in search.front)
    search = search.model_copy(update={"front": front, "winner": front[-1], "finalists": ()})
    names = [x.name for x in axes_of(inputs_of(search).choices, search)]
    assert names == ["parameters", "size", "memory"]


def test_slider_by_hand() -> None:
    axis = axis_over(14.38, None, 4.35, limit=15.03)
    assert (axis.step, axis.decimals) == (0.1, 1)
    assert (axis.low, axis.high) == (4.4, 15.1)
    assert [axis.above(x) for x in (4.4, 4.41, 11.7)] == [4.4, 4.5, 11.7]
    large = axis_over(200.0, 5200.0)
    assert (large.step, large.decimals, large.low, large.high) == (50.0, 0, 200.0, 5200.0)


@pytest.mark.parametrize("value", [0.004, 1.0, 37.5])
def test_slider_of_a_single_subnet_stands_still(value: float) -> None:
    axis = axis_over(value)
    assert axis.low == axis.high >= value * (1 - 1e-6)


@given(st.lists(positive, min_size=1, max_size=8))
def test_the_slider_covers_what_there_is(needed: list[float]) -> None:
    axis = axis_over(*needed)
    tolerance = axis.step * 1e-5
    assert axis.low >= min(needed) - tolerance  # the cheapest keeps the lowest limit
    assert axis.high >= max(needed) - tolerance
    assert axis.low - min(needed) <= axis.step + tolerance
    positions = (axis.high - axis.low) / axis.step
    assert math.isclose(positions, round(positions), abs_tol=1e-4)
    assert positions <= 1001 / 4
