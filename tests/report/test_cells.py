import re

import pytest
from markupsafe import Markup

from mosdeploy.report.cells import (
    Stack,
    bad,
    byte_size,
    code,
    draw_stacks,
    estimate,
    good,
    height_of,
    limit_verdict,
    milliseconds,
    moment,
    top_of,
)

SPACE = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize("cell", [bad, code, good])
def test_marked_text_is_escaped(cell: object) -> None:
    assert callable(cell)
    made = cell("<b>&")
    assert isinstance(made, Markup)
    assert "&lt;b&gt;&amp;" in made


@pytest.mark.parametrize(
    ("value_ms", "text"),
    [(4.266, "4.27"), (4266.4, "4266"), (0.06184, "0.0618"), (9.996, "10.0"), (0.0, "0.00")],
)
def test_times_have_three_digits(value_ms: float, text: str) -> None:
    assert milliseconds(value_ms) == f"{text}{SPACE}ms"


def test_estimates_have_their_error() -> None:
    assert estimate(1.62, 24.85) == f"1.62{SPACE}ms ±{SPACE}25%"
    assert estimate(1.62, 0.84) == f"1.62{SPACE}ms ±{SPACE}0.8%"
    assert estimate(1.62, None) == f"1.62{SPACE}ms"
    assert estimate(None, 24.85) == "-"


def test_sizes_by_hand() -> None:
    assert byte_size(3 * 2**19) == f"1.5{SPACE}MiB"
    assert byte_size(100 * 2**10) == f"100{SPACE}KiB"
    assert byte_size(2**30 - 2**20) == f"1,023.0{SPACE}MiB"
    assert byte_size(47 * 2**29) == f"23.5{SPACE}GiB"


def test_nothing_is_a_dash() -> None:
    assert milliseconds(None) == byte_size(None) == "-"


def test_limit_is_judged_only_where_it_can_be() -> None:
    assert limit_verdict("12 ms", None) == "12 ms"
    assert limit_verdict("12.5 ms", True) == '12.5 ms <span class="good">kept</span>'
    assert limit_verdict("12 ms", False) == '12 ms <span class="bad">broken</span>'


def test_moments_are_told_in_utc() -> None:
    assert moment("0001-01-01T00:00:00+14:00") == "0001-01-01T00:00:00+14:00"
    assert moment("2025-03-01T12:30:59+00:00") == "<time>2025-03-01 12:30 UTC</time>"
    assert moment("2025-03-01T23:30:00-02:00") == "<time>2025-03-02 01:30 UTC</time>"
    assert moment("yesterday") == "yesterday"


def test_boxes_stand_on_one_another_and_text_is_escaped() -> None:
    low = Stack(title="<b>", shares=[0.5], texts=[("1 & 2", "3")], style="primary")
    texts = [("x", "1"), ("y", "2")]
    high = Stack(title="b", shares=[1.0, 0.25], texts=texts, style="secondary")
    drawing = draw_stacks([low, high], "two")
    assert height_of([low, high]) == 34 + 2 * 56
    # both lowest boxes at the same height, 12 above the end of the drawing
    assert top_of(146 - 12, 0) == 90 and top_of(146 - 12, 1) == 34
    places = re.findall(
        r'<rect x="(\d+)" y="(\d+)" width="([\d.]+)" height="44" rx="5" class="fill', drawing
    )
    assert places == [("8", "90", "66"), ("180", "90", "132"), ("180", "34", "33")]
    assert "&lt;b&gt;" in drawing and "1 &amp; 2" in drawing and "<b>" not in drawing


@pytest.mark.parametrize(("num_stacks", "width"), [(1, 8 + 132 + 8), (2, 8 + 132 + 40 + 132 + 8)])
def test_a_drawing_is_as_wide_as_its_stacks(num_stacks: int, width: int) -> None:
    stack = Stack(title="a", shares=[1.0], texts=[("b", "c")], style="primary")
    drawing = draw_stacks([stack] * num_stacks, "some")
    assert f'viewBox="0 0 {width} 90" width="{width}"' in drawing
