"""A verb of the pipeline replaced for one test."""

import functools
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest

from mosdeploy import pipeline


@functools.cache
def _load_all() -> None:
    for module in pkgutil.iter_modules(pipeline.__path__, "mosdeploy.pipeline."):
        importlib.import_module(module.name)


def replace_verb(patch: pytest.MonkeyPatch, verb: str, work: Callable[..., Any]) -> None:
    """Let `module.name` of the pipeline do this. A file that takes it by its name, and is read for
    the first time meanwhile, would keep it for all later tests: all are read before.
    """
    _load_all()
    module, _, name = verb.rpartition(".")
    patch.setattr(importlib.import_module(f"mosdeploy.pipeline.{module}"), name, work)
