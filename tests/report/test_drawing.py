import re

from mosdeploy.report.drawing import Stack, draw_stacks, height_of, top_of


def test_boxes_stand_on_one_another_and_text_is_escaped() -> None:
    low = Stack(title="<b>", left=8, shares=[0.5], texts=["1 & 2"], style="primary")
    high = Stack(title="b", left=300, shares=[1.0, 0.25], texts=["x", "y"], style="secondary")
    drawing = draw_stacks([low, high], "two")
    assert height_of([low, high]) == 34 + 2 * 46
    # both lowest boxes at the same height, 12 above the end of the drawing
    assert top_of(126 - 12, 0) == 80 and top_of(126 - 12, 1) == 34
    places = re.findall(
        r'<rect x="(\d+)" y="(\d+)" width="([\d.]+)" height="34" rx="5" class="fill', drawing
    )
    assert places == [("8", "80", "122"), ("300", "80", "244"), ("300", "34", "61")]
    assert "&lt;b&gt;" in drawing and "1 &amp; 2" in drawing and "<b>" not in drawing
