"""The scripts that run on a device: how they get there, and how they are called."""

import contextlib
import io
import shlex
import zipfile
from functools import cache
from pathlib import Path
from typing import Literal, TypeVar

from ..config.device import DeviceProfile
from ..errors import CommandError
from ..record import Record
from ..storage import sha256_bytes
from .answers import parse_answer
from .interpreter import run_python, work_dir
from .on_device.__main__ import TOO_OLD
from .session import Session, last_lines

ON_DEVICE = Path(__file__).parent / "on_device"
Script = Literal["agent", "clean", "describe", "versions"]
R = TypeVar("R", bound=Record)

_TOO_OLD = (TOO_OLD, "SyntaxError: future feature annotations")
"""How Python 3.7 and 3.8 fail, and older ones."""
_START = b"from sys import argv\n\nfrom on_device.__main__ import main\n\nmain(*argv[1:])\n"


class Answer(Record):
    """What a script prints that can say why it did nothing."""

    error: str | None = None


@cache
def archive() -> bytes:
    """All scripts as a zip file that Python runs, the same whenever it is made."""
    members = {f"on_device/{path.name}": path.read_bytes() for path in ON_DEVICE.glob("*.py")}
    members["__main__.py"] = _START
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name in sorted(members):
            # a ZipInfo has a fixed date
            file.writestr(zipfile.ZipInfo(name), members[name], zipfile.ZIP_DEFLATED)
    return content.getvalue()


def install_scripts(session: Session, folder: str) -> str:
    """Copy the scripts into a file named by its content, unless they are there."""
    content = archive()
    path = f"{folder}/agents/on_device-{sha256_bytes(content)[:12]}.pyz"
    with contextlib.suppress(FileNotFoundError):
        if session.read(path) == content:
            return path
    session.put_bytes(content, path)
    return path


def call_script(
    session: Session,
    profile: DeviceProfile,
    kind: type[R],
    script: Script,
    *arguments: str,
    timeout_s: float | None = None,
) -> R:
    """Run one command of a script, and return the record that it prints."""
    path = install_scripts(session, work_dir(session, profile))
    result = run_python(session, profile, shlex.join([path, script, *arguments]), timeout_s)
    lines = result.stdout.strip().splitlines()
    if any(words in result.stderr for words in _TOO_OLD):
        raise CommandError(
            f"{profile.board}: the Python there is too old, 3.9 or later is needed: install a "
            "newer one and set `python` in the profile"
        )
    if result.returncode != 0 or not lines:
        raise CommandError(
            f"{profile.board}: {script}.py failed on the device: {last_lines(result)}"
        )
    answer = parse_answer(kind, lines[-1], f"{profile.board}: {script}.py")
    if isinstance(answer, Answer) and answer.error is not None:
        raise CommandError(f"{profile.board}: {answer.error}")
    return answer
