import re

import pytest

from mosdeploy.report.family_page import Stack, draw_stacks, height_of, top_of


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
