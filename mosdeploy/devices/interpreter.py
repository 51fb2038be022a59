"""The Python of a device, and the work folder that it may lie in.

In: a session, a profile and arguments. Out: what Python printed. Nothing is run that another user
of the device could have put there.
"""

import posixpath
import shlex
import sys

from ..config.device import DeviceProfile
from ..errors import CommandError, ConfigError
from ..printable import printable
from .session import CommandResult, Session, last_lines


class NoPythonError(CommandError):
    """The profile's Python does not run on the device."""


FROM_ROOT = 'case "$PY" in /*) ;; */*) PY="$PWD/$PY" ;; esac; cd / &&'
"""Shell text that makes the path PY absolute and goes to a folder that only root can write to: with
`-m`, Python takes modules from the current folder first, whoever put them there.
"""
_NOT_OURS = 125
_IF_OURS = (
    '[ ! -e "$DIR" ] || { [ -O "$DIR/." ] && '
    # the ninth character of drwxrwxrwx; small boards have no `find` or `stat`
    'case "$(ls -ld "$DIR/.")" in ????????w*) false ;; esac; } || '
    f"exit {_NOT_OURS}"
)
"""Shell text that ends where the work folder DIR belongs to somebody else or all may write to it:
who can put a Python there would run it as us (OpenSSH's StrictModes asks the same of its files).
"""


def work_dir(session: Session, profile: DeviceProfile) -> str:
    """Absolute path of the profile's work folder on the device.

    Raises
    ------
    ConfigError
        If the profile's path is neither absolute nor in the home folder, or is not a folder of its
        own.
    """
    home = posixpath.normpath(session.home())
    path = profile.work_dir
    if path.startswith("~/"):
        path = home + path[1:]
    if not path.startswith("/"):
        raise ConfigError(
            f"device '{profile.name}': work_dir must begin with '/' or '~/', "
            f"got '{profile.work_dir}'"
        )
    path = "/" + posixpath.normpath(path).lstrip("/")
    if path in ("/", home):  # what lies there is the user's
        raise ConfigError(
            f"device '{profile.name}': work_dir must be a folder of mosdeploy's own, such as "
            f"'~/.cache/mosdeploy', got '{profile.work_dir}'"
        )
    return path


def run_python(
    session: Session,
    profile: DeviceProfile,
    arguments: str,
    timeout_s: float | None = None,
    environment: str = "",
) -> CommandResult:
    """Run the device's Python: that of `devices setup` if it is there, else the profile's.

    Parameters
    ----------
    arguments
        Arguments as shell text, quoted where needed.
    environment
        Assignments as shell text, `NAME=value`.

    Raises
    ------
    NoPythonError
        If there is no such Python.
    CommandError
        If the work folder is not the user's own, or all may write to it.
    """
    folder = work_dir(session, profile)
    python = profile_python(profile)
    choose = f"DIR={shlex.quote(folder)}; {_IF_OURS}; "
    choose += f'PY="$DIR/venv/bin/python"; [ -x "$PY" ] || PY={shlex.quote(python)}'
    result = session.run(f'{choose}; {FROM_ROOT} {environment} "$PY" {arguments}', timeout_s)
    if result.returncode == _NOT_OURS and not result.stdout + result.stderr:
        raise CommandError(
            f"{profile.name}: {folder} belongs to another user of the device, or everybody may "
            "write to it: what lies there is not run. Run there: ls -ld and chmod go-w, or set "
            "another work_dir in the profile"
        )
    if result.returncode in (126, 127):
        raise NoPythonError(
            f"{profile.name}: no Python on the device: '{python}' does not run there "
            f"({last_lines(result, 1)}); run there: sudo apt-get install python3 python3-venv, or "
            "name another one as `python` in the profile"
        )
    return result


def python_path(session: Session, profile: DeviceProfile) -> str:
    """Absolute path of the Python that `run_python` runs."""
    found = run_python(session, profile, "-c 'import sys; print(sys.executable)'").stdout
    return printable(found.strip()[:1000])


def profile_python(profile: DeviceProfile) -> str:
    """The profile's Python; on this machine, unless the profile names one, the Python that runs
    mosdeploy.
    """
    default = DeviceProfile.model_fields["python"].default
    if profile.kind == "local" and profile.python == default:
        return sys.executable
    return profile.python
