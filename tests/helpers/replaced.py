"""A verb of the pipeline replaced for one test."""

import functools
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest

from mosdeploy import pipeline, run_folder


@functools.cache
def _load_all() -> None:
    for package in (pipeline, run_folder):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def replace_verb(patch: pytest.MonkeyPatch, verb: str, work: Callable[..., Any]) -> None:
    """Let `module.name` of the pipeline do this. A file that takes it by its name, and is read for
    the first time meanwhile, would keep it for all later tests: all are read before.
    """
    _load_all()
    module, _, name = verb.rpartition(".")
    packages = (pipeline.__name__, run_folder.__name__)
    names = [f"{package}.{module}" for package in packages]
    home = next(x for x in names if importlib.util.find_spec(x) is not None)
    patch.setattr(importlib.import_module(home), name, work)
