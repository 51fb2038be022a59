"""The scripts that run on a device by themselves: how they get there, and how they are called.

In: a session, a profile and arguments. Out: what a script printed, as a record. What the scripts do
is described in `on_device`.
"""

import contextlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from ..config.device import DeviceProfile
from ..errors import CommandError
from ..record import Record
from ..storage import sha256_bytes
from .answers import parse_answer
from .interpreter import run_python, work_dir
from .session import Session, last_lines

ON_DEVICE = Path(__file__).parent / "on_device"
AGENT = tuple(ON_DEVICE / name for name in ("agent.py", "benchmark.py", "describe.py"))
R = TypeVar("R", bound=Record)


class Answer(Record):
    """What a script prints that can say why it did nothing."""

    error: str | None = None


def install_agent(session: Session, folder: str, scripts: Sequence[Path] = AGENT) -> str:
    """Copy the agent, or other scripts that stand alone, into a folder named by their content.

    Returns
    -------
    str
        Path of the first script on the device.
    """
    sources = [script.read_bytes() for script in scripts]
    home = f"{folder}/agents/{scripts[0].stem}-{sha256_bytes(b''.join(sources))[:12]}"
    for script, source in zip(scripts, sources, strict=True):
        path = f"{home}/{script.name}"
        with contextlib.suppress(FileNotFoundError):
            if session.read(path) == source:
                continue
        session.put_bytes(source, path)
    return f"{home}/{scripts[0].name}"


def call_agent(
    session: Session,
    profile: DeviceProfile,
    kind: type[R],
    *arguments: str,
    timeout_s: float | None = None,
    scripts: Sequence[Path] = AGENT,
) -> R:
    """Run one command of the agent, or of another such script, and return the record that it
    prints.

    Raises
    ------
    CommandError
        If there is no Python, the script fails or says an error, or what it prints is no such
        record.
    """
    path = install_agent(session, work_dir(session, profile), scripts)
    result = run_python(session, profile, shlex.join([path, *arguments]), timeout_s)
    lines = result.stdout.strip().splitlines()
    if "SyntaxError: future feature annotations" in result.stderr:  # of 3.6 and older
        raise CommandError(
            f"{profile.name}: the Python there is too old, 3.9 or later is needed: install a newer "
            "one and set `python` in the profile"
        )
    if result.returncode != 0 or not lines:
        raise CommandError(
            f"{profile.name}: {scripts[0].name} failed on the device: {last_lines(result)}"
        )
    answer = parse_answer(kind, lines[-1], f"{profile.name}: {scripts[0].name}")
    if isinstance(answer, Answer) and answer.error is not None:
        raise CommandError(f"{profile.name}: {answer.error}")
    return answer
