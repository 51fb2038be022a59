"""The kinds of model: one folder of works each, beside its words in `spaces` and `config`."""

import importlib

from ..family import Family


def load_family(name: str) -> Family:
    """The family that a run file names; its works are imported when they are first called."""
    family: Family = importlib.import_module(f".{name}", __name__).FAMILY
    return family
