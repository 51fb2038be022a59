"""The page's colours can be told apart, in light and in dark."""

import itertools
import re

import pytest

from mosdeploy.report.page import FOLDER

STYLE = (FOLDER / "style.css").read_text(encoding="utf-8")
BLOCKS = dict(zip(("light", "dark"), re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL), strict=True))
COLOURS = {
    scheme: dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))
    for scheme, block in BLOCKS.items()
}


def luminance(colour: str) -> float:
    """As WCAG 2.2 defines it, of `#rrggbb`."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return sum(x * weight for x, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_by_hand() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_have_the_contrast_of_level_aa(scheme: str) -> None:
    known = COLOURS[scheme]
    pairs = list(itertools.product(("ink", "soft", "good", "bad"), ("page", "card")))
    pairs += [("ink", "note"), ("ink", "fill-blue"), ("ink", "fill-teal")]
    for words, ground in pairs:
        assert contrast(known[words], known[ground]) >= 4.5, (words, ground)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_marks_stand_out_from_the_page(scheme: str) -> None:
    known = COLOURS[scheme]
    for mark in ("blue", "teal", "orange", "grey", "bad"):
        assert contrast(known[mark], known["card"]) >= 3.0, mark
