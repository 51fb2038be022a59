import pytest
from markupsafe import Markup

from mosdeploy.report.cells import (
    bad,
    code,
    good,
    limit_verdict,
    mebibytes,
    milliseconds,
    moment,
    score,
)

SPACE = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize("cell", [bad, code, good])
def test_marked_text_is_escaped(cell: object) -> None:
    assert callable(cell)
    made = cell("<b>&")
    assert isinstance(made, Markup)
    assert "&lt;b&gt;&amp;" in made


@pytest.mark.parametrize(
    ("value_ms", "text"), [(4.266, "4.27"), (42.66, "42.7"), (426.6, "427"), (0.0, "0.00")]
)
def test_times_have_three_digits(value_ms: float, text: str) -> None:
    assert milliseconds(value_ms) == f"{text}{SPACE}ms"


def test_sizes_by_hand() -> None:
    assert mebibytes(3 * 2**19) == f"1.5{SPACE}MiB"
    assert mebibytes(100 * 2**10) == f"100{SPACE}KiB"
    assert mebibytes(2**31) == f"2,048.0{SPACE}MiB"


@pytest.mark.parametrize(
    ("value", "text"), [(28.14, "28.1"), (1.0, "1.0"), (0.6844, "0.684"), (-0.25, "-0.250")]
)
def test_scores_below_one_have_three_decimals(value: float, text: str) -> None:
    assert score(value) == text


def test_nothing_is_a_dash() -> None:
    assert milliseconds(None) == mebibytes(None) == score(None) == "-"


def test_limit_is_judged_only_where_it_can_be() -> None:
    assert limit_verdict(12.0, None) == "12 ms"
    assert limit_verdict(12.5, True) == '12.5 ms <span class="good">kept</span>'
    assert limit_verdict(12.0, False) == '12 ms <span class="bad">broken</span>'


def test_moments_are_told_in_utc() -> None:
    assert moment("2025-03-01T12:30:59+00:00") == "2025-03-01 12:30 UTC"
    assert moment("2025-03-01T23:30:00-02:00") == "2025-03-02 01:30 UTC"
    assert moment("yesterday") == "yesterday"
