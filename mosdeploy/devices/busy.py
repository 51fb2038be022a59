"""Whether a measurement runs on a device, so that nothing disturbs it."""

import contextlib

from pydantic import ConfigDict

from ..config.device import DeviceProfile
from ..errors import CommandError, DeviceBusyError
from ..record import Record
from .answers import parse_answer
from .interpreter import NoPythonError, work_dir
from .scripts import Answer, call_script
from .session import Session


class Holder(Record):
    """The agent that holds a device, as far as it is known."""

    model_config = ConfigDict(extra="ignore")

    pid: int | None = None
    job: str = "unknown"
    since: str = "an unknown time"


class _Busy(Answer):
    busy: Holder | None = None


def refuse_if_busy(session: Session, profile: DeviceProfile, own_job: str | None = None) -> None:
    """Check that no measurement runs on a device, before anything is done there that it would
    notice.
    """
    folder = work_dir(session, profile)
    holder = Holder()
    with contextlib.suppress(FileNotFoundError, CommandError):
        path = f"{folder}/agent.lock"
        holder = parse_answer(Holder, session.read(path), path)
    if runs_in(session, str(holder.pid), f"{folder}/jobs/{holder.job}"):
        if holder.job == own_job:
            return
        raise busy_error(profile, holder)
    with contextlib.suppress(NoPythonError):
        answer = call_script(session, profile, _Busy, "agent", "busy", folder)
        if answer.busy is not None:
            raise busy_error(profile, answer.busy)


def runs_in(session: Session, pid: str, folder: str) -> bool:
    """Tell whether a pid is that of an agent that works in a folder, and not of a later process
    that got the same number.
    """
    if not (pid.isascii() and pid.isdigit()):
        return False
    number = pid[:20]
    with contextlib.suppress(FileNotFoundError, CommandError):
        return folder.encode() in session.read(f"/proc/{number}/cmdline").split(b"\0")
    # it is over, or the system has no /proc, as macOS
    words = session.run(["ps", "-ww", "-o", "args=", "-p", number]).stdout.strip()
    return f" {folder} " in f"{words} "


def busy_error(profile: DeviceProfile, holder: Holder) -> DeviceBusyError:
    """Say who holds a device."""
    pid = "unknown" if holder.pid is None else holder.pid
    end_it = "" if holder.pid is None else f", or end it there with `kill -- -{pid}`"
    return DeviceBusyError(
        f"{profile.board}: another measurement holds the device: pid {pid}, since {holder.since}, "
        f"job {holder.job}; wait until it is over{end_it}"
    )
