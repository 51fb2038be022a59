import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosdeploy.report.charts import Axes, Mark, Scale, Series, agreement_chart, front_chart

AXES = Axes("Loss against latency", "Two subnets.", "ms", "loss")


def dots(points: list[tuple[float, float]], shape: str = "circle") -> Series:
    return Series("dots", "front", shape, tuple(Mark(x, y, f"at {x}, {y}") for x, y in points))


finite = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))


def test_scale_by_hand() -> None:
    scale = Scale(0.0, 10.0, 100.0, 200.0)
    assert [scale(x) for x in (0, 5, 10)] == [100, 150, 200]
    assert scale.ticks == (0, 2, 4, 6, 8, 10)
    downwards = Scale(0.0, 1.0, 300.0, 100.0)
    assert downwards(0.25) == 250
    assert downwards.ticks == (0, 0.2, 0.4, 0.6, 0.8, 1.0)


def test_scale_over_values_by_hand() -> None:
    assert Scale.over([10.0, 20.0], 0, 1) == Scale(9.4, 20.6, 0, 1)
    assert Scale.over([0.1, 10.0], 0, 1).low == 0.0  # times do not go below zero
    assert Scale.over([5.0], 0, 1) == Scale(4.5, 5.5, 0, 1)
    assert Scale.over([0.0], 0, 1) == Scale(0.0, 1.0, 0, 1)


@given(st.lists(finite, min_size=1, max_size=20))
def test_every_value_and_tick_lies_on_the_axis(values: list[float]) -> None:
    scale = Scale.over(values, 50, 600)
    assert all(50 <= scale(value) <= 600 for value in values)
    assert all(50 <= scale(tick) <= 600 for tick in scale.ticks)
    assert 2 <= len(scale.ticks) <= 8


@pytest.mark.parametrize(
    ("shape", "tag"), [("circle", "circle"), ("diamond", "polygon"), ("star", "polygon")]
)
def test_one_mark_for_each_point_and_one_in_the_legend(shape: str, tag: str) -> None:
    chart = front_chart(AXES, [dots([(1, 2), (3, 4), (5, 6)], shape)])
    assert len(re.findall(f"<{tag} ", chart)) == 3 + 1
    assert "at 3, 4" in chart


def test_limit_stands_where_it_belongs() -> None:
    chart = front_chart(AXES, [dots([(10, 1), (20, 2)])], limit=(15.0, "limit 15 ms"))
    [line] = re.findall(r'<line x1="([\d.]+)" [^>]*class="limit"', chart)
    left, right = (float(x) for x in re.findall(r'<circle cx="([\d.]+)"[^>]* r="4.5"', chart)[-2:])
    assert float(line) == pytest.approx((left + right) / 2, abs=0.1)
    assert "limit 15 ms" in chart


def test_empty_series_is_not_in_the_legend() -> None:
    chart = front_chart(AXES, [dots([(1, 2)]), Series("nobody", "measured", "diamond", ())])
    assert "nobody" not in chart


def test_band_holds_what_is_within_five_percent() -> None:
    chart = agreement_chart(AXES, [dots([(95, 100), (105, 100), (50, 50)])], percent=5)
    [points] = re.findall(r'<polygon points="([^"]+)" class="band"', chart)
    corners = [tuple(float(x) for x in pair.split(",")) for pair in points.split()]
    (right, upper), (_, lower) = corners[2:]
    circles = [
        (float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', chart)
    ]
    under, over = circles[-3:-1]  # predicted 5% too low, 5% too high; on the edges of the band

    def edge(corner: tuple[float, ...], end: tuple[float, float], x: float) -> float:
        return corner[1] + (end[1] - corner[1]) * (x - corner[0]) / (end[0] - corner[0])

    assert edge(corners[1], (right, upper), under[0]) == pytest.approx(under[1], abs=0.5)
    assert edge(corners[0], (right, lower), over[0]) == pytest.approx(over[1], abs=0.5)
