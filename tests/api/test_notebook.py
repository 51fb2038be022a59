"""How far a verb is, below the cells of a notebook."""

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell

from mosdeploy.api.notebook import NotebookProgress, default_progress
from mosdeploy.run_folder.context import SilentProgress


class Notebook:
    """IPython without a kernel, which keeps what is displayed."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell: Any = shell
        self.shell.display_pub = CapturingDisplayPublisher()
        self.shell.execution_count = 1

    @property
    def sent(self) -> list[tuple[str, bool]]:
        """Text of each output, and whether it takes the place of an earlier one."""
        outputs = self.shell.display_pub.outputs
        return [(x["data"]["text/plain"], bool(x.get("update"))) for x in outputs]

    @property
    def shown(self) -> dict[str, str]:
        """The last text of every output."""
        outputs = self.shell.display_pub.outputs
        return {x["transient"]["display_id"]: x["data"]["text/plain"] for x in outputs}


@pytest.fixture
def notebook() -> Iterator[Notebook]:
    shell = InteractiveShell.instance(history_load_length=0)
    yield Notebook(shell)
    InteractiveShell.clear_instance()


def test_a_stage_is_one_line_however_long_it_takes(notebook: Notebook) -> None:
    progress = NotebookProgress(notebook.shell)
    progress.say("10 pairs")
    for done in range(1, 1001):
        progress.update("train", done, 1000, f"loss {1 / done:g}")
    progress.say("done")
    [text] = notebook.shown.values()
    assert text == "10 pairs\ntrain: 1,000 of 1,000 loss 0.001\ndone"
    assert [is_update for _, is_update in notebook.sent] == [
        False,
        *[True] * (len(notebook.sent) - 1),
    ]


def test_a_stage_that_begins_again_begins_a_new_line(notebook: Notebook) -> None:
    progress = NotebookProgress(notebook.shell)
    for done in (1, 2, 1, 2):
        progress.update("finetune", done, 2)
    assert list(notebook.shown.values()) == ["finetune: 2 of 2\nfinetune: 2 of 2"]


def test_each_cell_has_an_output_of_its_own(notebook: Notebook) -> None:
    progress = NotebookProgress(notebook.shell)
    progress.update("measure", 2, 2)
    progress.update("measure", 3, 3, "measured anew")
    notebook.shell.execution_count = 2
    progress.update("measure", 1, 1)
    assert list(notebook.shown.values()) == [
        "measure: 3 of 3 measured anew",
        "measure: 1 of 1",
    ]


def test_what_steers_a_terminal_is_not_sent(notebook: Notebook) -> None:
    NotebookProgress(notebook.shell).say("a\x1b[2J")
    assert notebook.sent == [("a?[2J", False)]


def test_only_a_kernel_is_told_without_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython")
    assert isinstance(default_progress(), SilentProgress)
    terminal = SimpleNamespace(get_ipython=lambda: SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", terminal)
    assert isinstance(default_progress(), SilentProgress)
    kernel = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1, execution_count=1))
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    assert isinstance(default_progress(), NotebookProgress)
