"""Code blocks of the pages, and their commands run as a reader would type them.

A block is indented by four spaces, or fenced. A comment `<!-- not run: WHY -->` before it says why
no test runs it.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from command_line import ENVIRONMENT

ROOT = Path(__file__).parents[2]
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "predictors" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
PYTHON_PAGES = (ROOT / "docs" / "python.md", ROOT / "docs" / "add-a-family.md")
"""Those whose blocks of Python, but for the marked ones, a test runs as one program."""
SHELL = ("", "bash", "console", "sh")
"""Languages of blocks that hold commands; an indented block has none."""
CONTENT = ("csv", "ini", "json", "text", "toml")
"""Languages of blocks that hold what is in a file or on a screen."""

_FENCE = re.compile(r"^```\{?\.?([a-z]*)(?: (\.notest))?")
_MARK = re.compile(r"^<!-- not run: (.+) -->$")

Hook = Callable[[Path], Path | None]
"""Does in a folder what the page takes for granted there; may lead to another folder."""


@dataclass(frozen=True)
class Block:
    """A block of code on a page.

    Attributes
    ----------
    language
        Of a fence, with `.notest` if it has that class; empty for an indented block.
    line
        Number of its first line, from 1.
    text
        What is in it, without the indentation.
    why_not
        Why it is not run, as the page says; None for one that is.
    """

    language: str
    line: int
    text: str
    why_not: str | None = None

    @property
    def commands(self) -> list[str]:
        """Commands in their order, one a line; those that go on in the next line are joined."""
        lines = [line.strip() for line in self.text.replace("\\\n", " ").splitlines()]
        return [line for line in lines if line and not line.startswith("#")]


def blocks(text: str) -> list[Block]:
    """All blocks of a page.

    Raises
    ------
    ValueError
        If a comment about a block stands before none, or a fence is not closed.
    """
    found: list[Block] = []
    lines = text.splitlines()
    why_not: str | None = None
    i = 0
    while i < len(lines):
        line = lines[i]
        mark = _MARK.match(line)
        fence = _FENCE.match(line)
        is_indented = line.startswith("    ") and (i == 0 or not lines[i - 1].strip())
        end = i + 1
        if fence or is_indented:
            language = "".join(x for x in fence.groups() if x) if fence else ""
            end = _fence_end(lines, i) if fence else _indented_end(lines, i)
            body = lines[i + 1 : end - 1] if fence else [x[4:] for x in lines[i:end]]
            found.append(Block(language, i + 1, "\n".join(body).rstrip() + "\n", why_not))
            why_not = None
        elif line.strip():
            if why_not is not None:
                raise ValueError(f"line {i + 1}: no block after the comment '{why_not}'")
            why_not = mark[1] if mark else None
        i = end
    if why_not is not None:
        raise ValueError(f"no block after the comment '{why_not}'")
    return found


def _fence_end(lines: list[str], start: int) -> int:
    for i in range(start + 1, len(lines)):
        if lines[i] == "```":
            return i + 1
    raise ValueError(f"line {start + 1}: a fence that is not closed")


def _indented_end(lines: list[str], start: int) -> int:
    end = start
    for i in range(start, len(lines)):
        if lines[i].startswith("    "):
            end = i + 1
        elif lines[i].strip():
            break
    return end


@dataclass
class Typist:
    """Runs the commands of a page in their order, each in the folder where the last one ended.

    Attributes
    ----------
    home
        The user's home folder, which also has the configuration and `bin`.
    folder
        Where the next command runs.
    before, after
        What is done before or after the command that begins so; each must come once.
    """

    home: Path
    folder: Path
    before: Mapping[str, Hook] = field(default_factory=dict)
    after: Mapping[str, Hook] = field(default_factory=dict)
    timeout_s: float = 600.0

    def type_page(self, page: Path) -> dict[str, str]:
        """Run each block that has commands and is not marked; what each command printed.

        Raises
        ------
        AssertionError
            If a command fails, or one that there is a hook for does not come once.
        """
        printed: dict[str, str] = {}
        hooks = [*self.before, *self.after]
        typed = [
            (f"{page.name}:{block.line}", command)
            for block in blocks(page.read_text(encoding="utf-8"))
            if block.language in SHELL and block.why_not is None
            for command in block.commands
        ]
        for start in hooks:
            count = sum(command.startswith(start) for _, command in typed)
            assert count == 1, f"{page.name} has {count} commands that begin with {start!r}"
        for place, command in typed:
            self._call(self.before, command)
            printed[command] = self._type(command, place)
            self._call(self.after, command)
        return printed

    def _call(self, hooks: Mapping[str, Hook], command: str) -> None:
        for start, hook in hooks.items():
            if command.startswith(start):
                self.folder = hook(self.folder) or self.folder

    def _type(self, command: str, place: str) -> str:
        where = self.home / "where"
        script = f'set -euo pipefail\n{command}\npwd -P > "{where}"\n'
        with subprocess.Popen(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                out, err = process.communicate(timeout=self.timeout_s)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)  # bash does not take its children along
                raise
        code = process.returncode
        assert code == 0, f"{place}: {command}: exit code {code}\n{out}\n{err}"
        self.folder = Path(where.read_text().rstrip("\n"))
        return out

    def _environment(self) -> dict[str, str]:
        paths = (self.home / "python", *ENVIRONMENT["PYTHONPATH"].split(os.pathsep))
        return ENVIRONMENT | {
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "PATH": f"{self.home / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
        }


def make_home(home: Path) -> Path:
    """A home folder with `mosdeploy` on the path, and with the environment that
    `devices check --setup` makes on a device: it is this machine's.
    """
    programs = {
        home / "bin" / "mosdeploy": '-c "from mosdeploy.cli import main; main()" "$@"',
        home / ".cache" / "mosdeploy" / "venv" / "bin" / "python": '"$@"',
    }
    for path, words in programs.items():
        path.parent.mkdir(parents=True)
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}\n')
        path.chmod(0o755)
    return home
