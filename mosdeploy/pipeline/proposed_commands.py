"""The commands that several verbs propose at their end, as they are not refused in a run folder.

In: a run folder. Out: command lines. Nothing is run.
"""

import contextlib
import shlex

from ..config.sections import LimitsConfig
from ..errors import MosdeployError, StaleInputError
from ..records import BegunTraining, SupernetCard
from ..storage import read_record
from ..workspace import Workspace
from .context import Context
from .measured_parts import middle_limit, middle_times_ms
from .replacing import begun_training
from .train_command import TRAIN, train_command
from .trained_run import trained_run


def search_command(context: Context, device: str | None = None) -> str | None:
    """The search that comes next, with a limit where none is known; the training, where there is no
    supernet yet that can be searched. None where a limit is needed and no latency tells one, and in
    the folder of a task, where nothing is searched.

    Parameters
    ----------
    device
        Whose latencies the search is about. None takes the config's, else one that has latencies. A
        supernet that was trained for those of another device is searched for that one.
    """
    config = context.config
    if config.served_by is not None:
        return None
    try:
        trained = context.run.supernet_card().limits
    except MosdeployError:
        return _training(context, device)
    if trained is not None:
        device = trained.device or device
    if trained is not None or _has_limit(config.search):
        return f"mosdeploy search{_device_option(context, device)}"
    limit = middle_limit(context, device)
    return f"mosdeploy search{limit}" if limit else None


def _training(context: Context, device: str | None) -> str:
    if (made := last_training(context.files)) is not None:
        return train_command(context.config, made)
    if _has_limit(context.config.training):
        return f"{TRAIN}{_device_option(context, device)}"
    # a supernet that is trained after measuring can be trained for a limit
    return f"{TRAIN}{middle_limit(context, device)}"


def _has_limit(section: LimitsConfig) -> bool:
    limits = (section.max_latency, section.max_parameters, section.max_size, section.max_memory)
    return any(limits)


def _device_option(context: Context, device: str | None) -> str:
    name = device or context.config.device or next(iter(middle_times_ms(context)), None)
    return "" if name is None else context.run.device_option(name)


def last_training(files: Workspace) -> BegunTraining | SupernetCard | None:
    """What the last training was for: the one that is not over, else the supernet's."""
    if begun := begun_training(files.beside) or begun_training(files):
        return begun
    with contextlib.suppress(StaleInputError):
        return read_record(SupernetCard, files.supernet_card_path, TRAIN)
    return None


def task_command(context: Context) -> str:
    """What makes the folder of a task again, in which the run file is: its supernet, its tokenizer
    and its architecture.
    """
    served_from = context.run.data_root
    # the folder has the name of the task's file; where that lies, the folder does not say
    name = f"{context.files.root.resolve().name}.toml"
    usual = served_from / "tasks" / name
    path = str(usual) if usual.exists() else name
    return f"mosdeploy finetune --task {shlex.quote(path)} --dir {shlex.quote(str(served_from))}"


def deploy_command(context: Context, device: str | None) -> str:
    """What deploys the newest bundle.

    Parameters
    ----------
    device
        The one that the bundle was made for. Without one in the run file it is meant anyway.
    """
    is_meant = device is None or context.config.device in (None, device)
    return "mosdeploy deploy" + ("" if is_meant else f" --device {device}")


def report_command(context: Context) -> str:
    """What shows what was found; without a search that counts, which a report is about, what shows
    the parts of the run folder.
    """
    try:
        trained_run(context.run).search_result()
    except MosdeployError:
        return "mosdeploy status"
    return "mosdeploy report"
