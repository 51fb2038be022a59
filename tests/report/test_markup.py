import pytest

from mosdeploy.report.markup import Markup, element, facts, join, table


def test_text_is_escaped_and_markup_is_not() -> None:
    assert element("p", "a < b & c", Markup("<b>d</b>")) == "<p>a &lt; b &amp; c<b>d</b></p>"


def test_attributes_are_escaped_and_named() -> None:
    made = element("g", class_='x" onload="y', text_anchor="end", viewBox="0 0", id=None)
    assert made == '<g class="x&quot; onload=&quot;y" text-anchor="end" viewBox="0 0"></g>'


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1"), (1.256, "1.26"), (0.0, "0"), (-0.5, "-0.5"), (100.0, "100")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert element("text", value, x=value) == f'<text x="{text}">{text}</text>'


def test_void_element_is_not_closed() -> None:
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'


def test_nothing_is_left_out_but_none() -> None:
    assert join((None, "", 0, "a")) == "0a"


def test_table_and_facts() -> None:
    made = table(("a", "b"), [("<1>", 2)], caption="c")
    assert '<th scope="col">a</th>' in made
    assert '<tr><th scope="row">&lt;1&gt;</th><td>2</td></tr>' in made
    assert facts([("x", "1"), ("y", None)]) == "<dl><div><dt>x</dt><dd>1</dd></div></dl>"
