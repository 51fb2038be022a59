"""Where named things lie: the run folder, the user's config folder, what is shipped, packages."""

import contextlib
import importlib.util
from pathlib import Path

import platformdirs

from ..errors import ConfigError

PACKAGE = "package:"


def shipped_dir(kind: str) -> Path:
    """Folder of shipped `device_profiles` or `predictors`: inside the wheel, or at the top of a
    source checkout.
    """
    package = Path(__file__).resolve().parent.parent
    wheel = package / "shipped" / kind
    return wheel if wheel.is_dir() else package.parent / kind


def lookup_dirs(kind: str, root: Path) -> list[Path]:
    """Where a named profile or predictor is looked for, first match wins: run folder, user's
    config, shipped.
    """
    found = [Path(root) / kind, shipped_dir(kind)]
    # a user may have no home folder, as in a container
    with contextlib.suppress(RuntimeError):
        users = Path(platformdirs.user_config_dir("mosdeploy"))
        if users.is_absolute():
            found.insert(1, users / kind)
    return found


def expand_home(name: str) -> Path:
    """A path with the home folder in place of `~`; that of an unknown user stays as it is, as a
    file that is missing.
    """
    path = Path(name)
    with contextlib.suppress(RuntimeError):
        return path.expanduser()
    return path


def resolve_path(source: str, root: Path) -> Path:
    """Where a file or folder is that a run file names; it need not exist."""
    if not source.startswith(PACKAGE):
        return root / expand_home(source)
    name, _, rest = source.removeprefix(PACKAGE).partition("/")
    # of a name without dots, this imports nothing
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"'{source}': there is no package '{name}' to import; install it with pip, and write "
            "the name that Python imports"
        )
    return Path(spec.submodule_search_locations[0]) / rest
