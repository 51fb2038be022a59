"""The kinds of model: one folder of works each, beside its words in `spaces` and `config`."""

import importlib.util
import pkgutil

from ..errors import ConfigError
from ..family import Family


def load_family(name: str) -> Family:
    """The family that a run file names; its works are imported when they are first called."""
    if not name.isidentifier() or importlib.util.find_spec(f".{name}", __name__) is None:
        known = ", ".join(module.name for module in pkgutil.iter_modules(__path__))
        raise ConfigError(f"unknown family '{name}'; known: {known}")
    family: Family = importlib.import_module(f".{name}", __name__).FAMILY
    return family
