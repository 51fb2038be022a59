"""One function per verb: read records, call rooms, write records. The only folder where rooms meet.

In: a run folder and what the command line said. Out: records, which the command line prints. A verb's file is imported
when the verb is first asked for, and rooms inside the verbs, so that `mosdeploy --help` loads next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bundle import deploy, export, export_fastest, roll_back, translate
    from .costing import dry_run
    from .devices import check_device, list_devices, setup_device, show_device
    from .finetuning import finetune
    from .latency import fit, profile
    from .page import report
    from .predictors import import_latency
    from .run import Progress, init, open_run
    from .scoring import evaluate
    from .training import train
    from .walk import demo
    from .winner import search

_FILES = {
    "bundle": ("deploy", "export", "export_fastest", "roll_back", "translate"),
    "costing": ("dry_run",),
    "devices": ("check_device", "list_devices", "setup_device", "show_device"),
    "finetuning": ("finetune",),
    "latency": ("fit", "profile"),
    "page": ("report",),
    "predictors": ("import_latency",),
    "run": ("Progress", "init", "open_run"),
    "scoring": ("evaluate",),
    "training": ("train",),
    "walk": ("demo",),
    "winner": ("search",),
}

__all__ = [
    "Progress",
    "check_device",
    "demo",
    "deploy",
    "dry_run",
    "evaluate",
    "export",
    "export_fastest",
    "finetune",
    "fit",
    "import_latency",
    "init",
    "list_devices",
    "open_run",
    "profile",
    "report",
    "roll_back",
    "search",
    "setup_device",
    "show_device",
    "train",
    "translate",
]


def __getattr__(name: str) -> Any:
    for file, verbs in _FILES.items():
        if name in verbs:
            return getattr(importlib.import_module(f".{file}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
