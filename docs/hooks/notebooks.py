"""Notebooks as pages of the site, with the outputs that they were saved with.

In: `.ipynb` files among the pages. Out: their Markdown, which MkDocs treats as that of any page: it
checks the links, and nothing is loaded from elsewhere. Nothing is run.
"""

import base64
import json
from collections.abc import Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

SUFFIX = ".ipynb"


class NotebookFile(File):
    """A file that is a page though it is no Markdown."""

    def is_documentation_page(self) -> bool:
        """Whether MkDocs makes a page of it."""
        return True


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Make pages of notebooks."""
    for file in list(files):
        if file.src_uri.endswith(SUFFIX):
            files.remove(file)
            page = NotebookFile(
                file.src_uri, config.docs_dir, config.site_dir, config.use_directory_urls
            )
            files.append(page)
    return files


def on_page_read_source(page: Page, config: MkDocsConfig) -> str | None:
    """Read a notebook as Markdown; any other page is read as usual."""
    if not page.file.src_uri.endswith(SUFFIX):
        return None
    return to_markdown(json.loads(page.file.content_string))


def to_markdown(notebook: dict[str, Any]) -> str:
    r"""Cells in their order, each code cell with what it showed.

    Examples
    --------
    >>> output = {"output_type": "stream", "text": ["2\n"]}
    >>> cell = {"cell_type": "code", "source": ["print(1 + 1)"], "outputs": [output]}
    >>> to_markdown({"cells": [cell]})
    '```python\nprint(1 + 1)\n```\n\n```text\n2\n```\n'
    """
    return "\n\n".join(part for cell in notebook["cells"] for part in _parts(cell)) + "\n"


def _parts(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield _block("python", source)
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            yield _block("text", "".join(output["text"]))
        else:
            yield _shown(output["data"])


def _shown(data: dict[str, Any]) -> str:
    """The richest form of an output."""
    if "image/svg+xml" in data:
        image = base64.b64encode("".join(data["image/svg+xml"]).encode()).decode()
        return f'<img alt="" src="data:image/svg+xml;base64,{image}">'
    if "text/html" in data:
        # a class keeps the wide rows of the theme away
        html = "".join(data["text/html"]).replace("<table>", '<table class="notebook">')
        return f"<div>{html}</div>"
    return _block("text", "".join(data["text/plain"]))


def _block(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"
