"""Text to HTML and SVG, escaped by construction.

In: tag names, attributes, children. Out: `Markup`. Any child or attribute that is not `Markup` is
escaped, so that no name, sentence or path from a record can become a tag. This file knows no
record.
"""

import html
from collections.abc import Iterable

VOID_TAGS = frozenset({"meta", "br"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = Markup | str | int | float | None


def element(tag: str, *children: Child, **attributes: str | int | float | None) -> Markup:
    """Make one element.

    Parameters
    ----------
    children
        Nested elements and text; None is left out, and all that is not `Markup` is escaped.
    attributes
        `_` in a name becomes `-`, and a trailing one is dropped (`class_`); None leaves the
        attribute out.
    """
    pairs = (
        (name.rstrip("_").replace("_", "-"), value)
        for name, value in attributes.items()
        if value is not None
    )
    head = "".join(f' {name}="{html.escape(_text(value))}"' for name, value in pairs)
    return Markup(
        f"<{tag}{head}>" if tag in VOID_TAGS else f"<{tag}{head}>{join(children)}</{tag}>"
    )


def join(children: Iterable[Child]) -> Markup:
    """Put children side by side."""
    return Markup(
        "".join(
            x if isinstance(x, Markup) else html.escape(_text(x)) for x in children if x is not None
        )
    )


def table(
    header: Iterable[Child], rows: Iterable[Iterable[Child]], caption: str | None = None
) -> Markup:
    """Make a table whose first column names the rows; it scrolls sideways where the page is narrow."""
    head = element("tr", *(element("th", cell, scope="col") for cell in header))
    body = [
        element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in rest))
        for first, *rest in rows
    ]
    content = [
        element("caption", caption) if caption else None,
        element("thead", head),
        element("tbody", *body),
    ]
    return element("div", element("table", *content), class_="scroll")


def facts(pairs: Iterable[tuple[str, Child]]) -> Markup:
    """Make a list of names and values; a value of None is left out."""
    rows = (
        element("div", element("dt", name), element("dd", value))
        for name, value in pairs
        if value is not None
    )
    return element("dl", *rows)


def _text(value: str | int | float | None) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
