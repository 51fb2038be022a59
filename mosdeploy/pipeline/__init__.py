"""One function per verb: read records, call rooms, write records. The only folder where rooms meet.

In: a run folder and what the command line said. Out: records, which the command line prints. Rooms are imported inside
the verbs, so that `mosdeploy --help` loads none of their libraries.
"""

from .bundle import deploy, export, translate
from .devices import check_device, list_devices, setup_device, show_device
from .latency import fit, profile
from .page import report
from .predictors import import_latency
from .run import Progress, init, list_recipes, open_run
from .training import evaluate, train
from .walk import demo
from .winner import search

__all__ = [
    "Progress",
    "check_device",
    "demo",
    "deploy",
    "evaluate",
    "export",
    "fit",
    "import_latency",
    "init",
    "list_devices",
    "list_recipes",
    "open_run",
    "profile",
    "report",
    "search",
    "setup_device",
    "show_device",
    "train",
    "translate",
]
