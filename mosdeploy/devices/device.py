"""A device that a session reaches: its work folder, its Python, and the scripts that run there."""

import contextlib
import io
import posixpath
import shlex
import sys
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, Self, TypeVar

from ..config.device import DeviceProfile
from ..errors import CommandError, ConfigError
from ..printable import printable
from ..record import Record
from ..storage import sha256_bytes
from .on_device import TOO_OLD
from .session import CommandResult, Session, last_lines, parse_answer

PACKAGE = Path(__file__).parents[1]
Script = Literal["agent", "describe", "slots"]
R = TypeVar("R", bound=Record)

_TOO_OLD = (TOO_OLD, "SyntaxError: future feature annotations")
"""How Python 3.7 and 3.8 fail, and older ones."""
_START = (
    b"from sys import argv\n\nfrom mosdeploy.devices.on_device import main\n\nmain(*argv[1:])\n"
)


class NoPythonError(CommandError):
    """The profile's Python does not run on the device."""


FROM_ROOT = 'case "$PY" in /*) ;; */*) PY="$PWD/$PY" ;; esac; cd / &&'
"""Shell text that makes the path PY absolute and goes to a folder that only root can write to: with
`-m`, Python takes modules from the current folder first, whoever put them there.
"""
# how the check of the work folder ends
_OPEN = 125
_NO_FOLDER = 124
_FOREIGN = 123
_MAKE_OURS = rf"""
path=$DIR
refuse() {{ printf '%s\n' "$path"; exit "${{1:-{_OPEN}}}"; }}
if [ ! -d "$DIR" ] && {{ [ -e "$DIR" ] || [ -L "$DIR" ]; }}; then refuse {_NO_FOLDER}; fi
[ -e "$DIR" ] || (umask 077; mkdir -p "$DIR") || exit 1
[ -O "$DIR/." ] || refuse {_FOREIGN}
# sticky folders are made to be shared
case "$(ls -ld "$DIR/.")" in ?????????[tT]*) refuse ;; esac
me=$(id -u); group=0
# a group of the user's own, as Debian makes one for each user
[ "$(id -un)" != "$(id -gn)" ] || group=$(id -g)
set -f
for path in "$DIR" "$(cd "$DIR" && pwd -P)"; do
    while
        # mode, links, owner and group, as numbers; small boards have no `find` or `stat`
        set -- $(ls -ldn "$path/.")
        case "$3" in 0 | "$me") ;; *) refuse {_FOREIGN} ;; esac
        case "$1" in  # drwxrwxrwx
        ?????????[tT]*) ;;  # others can add to it, but not take away what is ours
        ????????w*) refuse ;;
        ?????w*) case "$4" in 0 | "$group") ;; *) refuse ;; esac ;;
        esac
        # who can write above the home folder can log in as its user
        [ -n "$path" ] && ! [ "$path/." -ef "$HOME" ]
    do
        path=${{path%/*}}
    done
done
"""
"""Shell text that makes the work folder DIR, for the user alone, and ends where another user could
put something into it, or replace it or a folder above it: who can put a Python there would run
it as us (OpenSSH's StrictModes asks the same of its files).
"""


class Answer(Record):
    """What a script prints, which may be the reason why it did nothing."""

    error: str | None = None


@dataclass(frozen=True)
class Device:
    """A device that a session reaches, as its profile describes it."""

    session: Session
    profile: DeviceProfile

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    @property
    def board(self) -> str:
        """Name of the device in messages."""
        return self.profile.board

    def work_dir(self) -> str:
        """Absolute path of the profile's work folder on the device; it is made if it is missing."""
        profile = self.profile
        home = posixpath.normpath(self.session.home())
        path = profile.work_dir
        if path.startswith("~/"):
            path = home + path[1:]
        path = "/" + posixpath.normpath(path).lstrip("/")
        if path == home:  # what lies there is the user's
            raise ConfigError(
                f"device '{profile.name}': work_dir must be a folder of mosdeploy's own, such as "
                f"'~/.cache/mosdeploy', got '{profile.work_dir}'"
            )
        if path not in self.session.checked_dirs:
            self._make_ours(path)
            self.session.checked_dirs.add(path)
        return path

    def _make_ours(self, folder: str) -> None:
        """Make a folder unless it is there, and refuse one that is not the user's alone."""
        result = self.session.run(f"DIR={shlex.quote(folder)}{_MAKE_OURS}")
        path = printable(result.stdout.strip()[:1000])
        unused = f"so nothing in {folder} is read or run. Set another work_dir in the profile"
        recursive = "-R " if path == folder else ""
        reasons = {
            0: "",
            _NO_FOLDER: f"{path} is no folder, but a file or a link to nothing; remove it there, "
            "or set another work_dir in the profile",
            _FOREIGN: f"{path} belongs to another user of the device, {unused}",
            _OPEN: f"others may write to {path}, {unused}; or, if you are sure that nobody has put "
            f"anything there, run there: chmod {recursive}go-w,-t {shlex.quote(path)}",
        }
        other = f"cannot make {folder}: {last_lines(result)}; set another work_dir in the profile"
        if reason := reasons.get(result.returncode, other):
            raise CommandError(f"{self.board}: {reason}")

    @property
    def profile_python(self) -> str:
        """The profile's Python as shell text; here, unless it names one, that of mosdeploy."""
        python = self.profile.python
        default = DeviceProfile.model_fields["python"].default
        if self.profile.kind == "local" and python == default:
            python = sys.executable
        in_home = python.removeprefix("~/")
        return shlex.quote(python) if in_home == python else f'"$HOME"/{shlex.quote(in_home)}'

    def run_python(
        self, arguments: str, timeout_s: float | None = None, environment: str = ""
    ) -> CommandResult:
        """Run the device's Python: that of the environment made there, else the profile's."""
        python = f"{shlex.quote(self.work_dir())}/venv/bin/python"
        choose = f'PY={python}; [ -x "$PY" ] || PY={self.profile_python}'
        command = f'{choose}; {FROM_ROOT} {environment} "$PY" {arguments}'
        result = self.session.run(command, timeout_s)
        if result.returncode in (126, 127):
            raise NoPythonError(
                f"{self.board}: no Python on the device: {self.profile_python} does not run there "
                f"({last_lines(result, 1)}); run there: sudo apt-get install python3 python3-venv, "
                "or name another one as `python` in the profile"
            )
        return result

    def python_path(self) -> str:
        """Absolute path of the Python that `run_python` runs."""
        found = self.run_python("-c 'import sys; print(sys.executable)'").stdout
        return printable(found.strip()[:1000])

    def call(
        self, kind: type[R], script: Script, *arguments: str, timeout_s: float | None = None
    ) -> R:
        """Run one command of a script, and return the record that it prints."""
        path = self.install_scripts()
        result = self.run_python(shlex.join([path, script, *arguments]), timeout_s)
        lines = result.stdout.strip().splitlines()
        if any(words in result.stderr for words in _TOO_OLD):
            raise CommandError(
                f"{self.board}: the Python there is too old, 3.9 or later is needed: install a "
                "newer one and set `python` in the profile"
            )
        if result.returncode != 0 or not lines:
            raise CommandError(
                f"{self.board}: {script}.py failed on the device: {last_lines(result)}"
            )
        answer = parse_answer(kind, lines[-1], f"{self.board}: {script}.py")
        if isinstance(answer, Answer) and answer.error is not None:
            raise CommandError(f"{self.board}: {answer.error}")
        return answer

    def install_scripts(self) -> str:
        """Copy the scripts into a file named by its content, unless they are there."""
        content = archive()
        path = f"{self.work_dir()}/agents/on_device-{sha256_bytes(content)[:12]}.pyz"
        with contextlib.suppress(FileNotFoundError):
            if self.session.read(path) == content:
                return path
        self.session.put_bytes(content, path)
        return path


@cache
def archive() -> bytes:
    """All scripts as a zip file that Python runs, the same whenever it is made."""
    members = {
        "__main__.py": _START,
        "mosdeploy/__init__.py": b"",
        "mosdeploy/devices/__init__.py": b"",
    }
    for folder in ("devices/on_device", "runtime"):
        for path in (PACKAGE / folder).glob("*.py"):
            members[f"mosdeploy/{folder}/{path.name}"] = path.read_bytes()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name in sorted(members):
            # a ZipInfo has a fixed date
            file.writestr(zipfile.ZipInfo(name), members[name], zipfile.ZIP_DEFLATED)
    return content.getvalue()
