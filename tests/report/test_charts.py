import dataclasses
import itertools
from typing import Any

import pytest
from synthetic import LIMIT_MS, full_inputs, inputs_of, search_result

from mosdeploy.report.charts import FINALIST, FRONT, WINNER, agreement_chart, front_chart
from mosdeploy.report.selection import axes_of
from mosdeploy.report.summary import Agreement, ReportInputs

POINTS = tuple(
    Agreement(key=key, predicted_ms=predicted_ms, measured_ms=100.0, fitted=fitted)
    for key, predicted_ms, fitted in (("a", 105.0, True), ("b", 95.0, False), ("c", 50.0, False))
)


def chart(inputs: ReportInputs, axis: int = 0) -> dict[str, Any]:
    """The specification, which Altair checks against Vega-Lite's schema."""
    axes = axes_of(inputs.choices, inputs.search)
    return front_chart(inputs.choices, axes[axis]).to_dict()


def rows(spec: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [row for row in spec["datasets"]["choices"] if row["kind"] == kind]


def inline(spec: dict[str, Any], layer: int) -> list[dict[str, Any]]:
    data = spec["layer"][layer]["data"]
    return data["values"] if "values" in data else spec["datasets"][data["name"]]


def marks(spec: dict[str, Any]) -> list[str]:
    return [layer["mark"].get("style", layer["mark"]["type"]) for layer in spec["layer"]]


def test_every_candidate_has_its_marks() -> None:
    inputs = full_inputs()
    spec = chart(inputs)
    front = inputs.search.front
    assert [(x["number"], x["x"], x["loss"]) for x in rows(spec, FRONT)] == [
        (i + 1, x.predicted_ms, x.loss) for i, x in enumerate(front)
    ]
    others = [x for x in inputs.search.finalists if x.arch != inputs.search.winner.arch]
    measured = {x.arch.key: x.measured_ms for x in others}
    assert {x["key"]: x["x"] for x in rows(spec, FINALIST)} == measured
    [winner] = rows(spec, WINNER)
    assert winner["x"] == inputs.search.winner.measured_ms
    assert marks(spec) == ["limit", "limit-text", "asked", "line", "point", "chosen"]


def test_winner_that_was_not_measured_is_drawn_as_predicted() -> None:
    search = search_result(verified=False)
    spec = chart(inputs_of(search))
    [winner] = rows(spec, WINNER)
    assert winner["x"] == search.winner.predicted_ms
    assert rows(spec, FINALIST) == []


def test_the_limit_of_the_search_is_drawn_with_a_label_where_there_is_room() -> None:
    inputs = full_inputs()
    spec = chart(inputs)
    assert inline(spec, 0) == [{"x": LIMIT_MS, "text": "limit 12 ms"}]
    low, high = spec["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert low < LIMIT_MS < high
    assert "limit" not in marks(chart(inputs, axis=1))
    for limit_ms, side in ((5.0, "left"), (14.0, "right")):
        spec = chart(dataclasses.replace(inputs, search=search_result(limit_ms=limit_ms)))
        assert spec["layer"][1]["mark"]["align"] == side


def test_titles_name_what_is_drawn() -> None:
    inputs = full_inputs()
    spec = chart(inputs)
    titles = [x["title"] for x in spec["layer"][-2]["encoding"]["tooltip"]]
    assert titles[2:] == ["latency on rpi, ms", "validation loss", "architecture"]
    assert [x["name"] for x in spec["params"]] == ["limit", "chosen"]
    timed = tuple(x.model_copy(update={"time_loss": -0.1}) for x in inputs.choices)
    spec = chart(dataclasses.replace(inputs, choices=timed))
    title = spec["layer"][-1]["encoding"]["y"]["title"]
    assert title == "validation loss, with the time of training steps"


@pytest.mark.parametrize("axis", [1, 2, 3, 4])
def test_the_front_is_joined_only_where_it_is_one(axis: int) -> None:
    spec = chart(full_inputs(), axis)
    members = sorted((x["x"], -x["loss"]) for x in rows(spec, FRONT))
    is_front = all(a[1] <= b[1] for a, b in itertools.pairwise(members))
    assert ("line" in marks(spec)) is is_front


def test_band_holds_what_is_within_five_percent() -> None:
    spec = agreement_chart(POINTS).to_dict()
    band = inline(spec, 0)
    # at either end: 5% too high and too low, relative to what was measured
    for end in band:
        assert end["x"] == pytest.approx(end["under"] * 1.05)
        assert end["x"] == pytest.approx(end["over"] * 0.95)
    assert band[0]["x"] < 50 and band[1]["x"] > 105
    titles = {layer["encoding"]["x"]["title"] for layer in spec["layer"]}
    assert titles == {"predicted, ms"}


def test_new_points_are_drawn_apart_from_fitted_ones() -> None:
    spec = agreement_chart(POINTS, ", emulated").to_dict()
    data = spec["datasets"]["subnets"]
    assert [row["kind"].partition(",")[0] for row in data] == ["profiled", "finalists", "finalists"]
    assert [row["error"] for row in data] == pytest.approx([0.05, -0.05, -0.5])
    assert spec["layer"][-1]["encoding"]["y"]["title"] == "measured, ms, emulated"
