"""One function per verb: read records, call rooms, write records. The only folder where rooms meet.

In: a run folder and what the command line said. Out: records, which the command line prints. A
verb's file is imported when the verb is first asked for, and rooms inside the verbs, so that
`mosdeploy --help` loads next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .demo import demo
    from .devices import check_device, list_devices, setup_device, show_device
    from .dry_run import dry_run
    from .evaluate import evaluate
    from .export import deploy, export, export_fastest, roll_back, translate
    from .finetune import finetune
    from .predictors import import_latency
    from .profile import fit, profile
    from .report import report
    from .run import Progress, init, open_run
    from .search import search
    from .train import train

_FILES = {
    "export": ("deploy", "export", "export_fastest", "roll_back", "translate"),
    "dry_run": ("dry_run",),
    "devices": ("check_device", "list_devices", "setup_device", "show_device"),
    "finetune": ("finetune",),
    "profile": ("fit", "profile"),
    "report": ("report",),
    "predictors": ("import_latency",),
    "run": ("Progress", "init", "open_run"),
    "evaluate": ("evaluate",),
    "train": ("train",),
    "demo": ("demo",),
    "search": ("search",),
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
