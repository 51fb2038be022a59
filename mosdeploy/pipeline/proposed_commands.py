"""The commands that several verbs propose at their end, as they are not refused in a run folder."""

import contextlib

from ..errors import ConfigError, MosdeployError, StaleInputError
from ..records import NO_LIMITS, BegunSearch, BegunTraining, Limits, SearchResult, SupernetCard
from ..run_folder.begun_search import begun_search
from ..run_folder.budget import train_command, tried_budget, with_budget
from ..run_folder.context import Context
from ..run_folder.devices import run_profile
from ..run_folder.trained_run import trained_run
from ..run_folder.trained_settings import names_data, setting_differences
from ..spaces import ModelSpec
from ..storage import readable_record
from .measured_device import middle_limit, middle_size, middle_times_ms
from .replacing import OTHER_DATA, begun_teacher, last_begun, stopped_state

NO_VERIFY = " --no-verify"


def search_command(context: Context, device: str | None = None) -> str | None:
    """The search that comes next, with a limit where none is known; the training, where there is no
    supernet yet that can be searched.
    """
    config = context.config
    if config.served_by is not None:
        return None
    try:
        card = context.run.supernet_card()
    except MosdeployError:
        return _training(context)
    if (stopped := _stopped_search(context, device)) is not None:
        return stopped
    if Limits.configured(config.search) != NO_LIMITS:
        return limited_search(context, device)
    ending = _emulated_ending(context, device)
    if (again := _last_search(context, device, ending)) is not None:
        return again
    limit = middle_limit(context, device)
    if ending and not limit:
        spec = ModelSpec(config.space, card.vocab_size, config.workload)
        limit = f" {middle_size(config, spec)}{_device_option(context, device)}"
    return f"mosdeploy search{limit}{ending}" if limit else None


def _last_search(context: Context, device: str | None, ending: str) -> str | None:
    """The last search for that device again, whatever it was made from; None where there is none,
    or one without limits.
    """
    found = readable_record(SearchResult, context.files.search_result_path)
    return _same_search(context, found, device, ending) if found else None


def _stopped_search(context: Context, device: str | None) -> str | None:
    """The search for that device that was stopped, or that a stopped walk leads to."""
    found = begun_search(context.files.begun_search_path)
    if found is None:
        return None
    is_verified = found.verify and not _is_emulated(context, found.device)
    return _same_search(context, found, device, "" if is_verified else NO_VERIFY)


def _same_search(
    context: Context, found: BegunSearch | SearchResult, device: str | None, ending: str
) -> str | None:
    config = context.config.search
    options = found.limits.options(config.count)
    if not options or device not in (None, found.device):
        return None
    if found.statistic != config.statistic:
        options.append(f"--statistic {found.statistic}")
    device_option = context.run.device_option(found.device)
    return " ".join(("mosdeploy search", *options)) + device_option + ending


def limited_search(context: Context, device: str | None) -> str:
    """The search that comes next where its limits are known; what measures this machine, where it
    is for latencies and the device is emulated, which has none.
    """
    ending = _emulated_ending(context, device)
    is_for_latency = ending and context.config.search.max_latency
    if is_for_latency and _searched_device(context, device) not in middle_times_ms(context):
        return "mosdeploy profile --device local"
    return f"mosdeploy search{_device_option(context, device)}{ending}"


def _emulated_ending(context: Context, device: str | None) -> str:
    """What a search needs that is for an emulated device; empty for any other."""
    name = _searched_device(context, device)
    return NO_VERIFY if name is not None and _is_emulated(context, name) else ""


def _is_emulated(context: Context, device: str) -> bool:
    with contextlib.suppress(ConfigError):
        return run_profile(context.files.root, device).emulated
    return False


def _training(context: Context) -> str:
    made = last_training(context)
    return train_command(None if made is None else made.budget)


def _device_option(context: Context, device: str | None) -> str:
    name = _searched_device(context, device)
    return "" if name is None else context.run.device_option(name)


def _searched_device(context: Context, device: str | None) -> str | None:
    """Whose latencies a search is about; in place of an emulated device that the run file names,
    another one that has latencies. None where nothing tells.
    """
    named = device or context.config.device
    if named is not None and (device or not _is_emulated(context, named)):
        return named
    found = (*middle_times_ms(context), named, *context.run.devices_with_latencies())
    return next((name for name in found if name is not None), None)


def last_training(
    context: Context, *, read_data: bool = False
) -> BegunTraining | SupernetCard | None:
    """What the last training was for: the one that is not over, else the supernet's."""
    files = context.files
    begun = last_begun(files)
    if begun is not None and not is_other_training(context, begun, read_data=read_data):
        return begun
    return readable_record(SupernetCard, files.supernet_card_path)


def is_other_training(context: Context, begun: BegunTraining, *, read_data: bool) -> bool:
    """Whether a supernet stands whole, and what was begun beside it is of another run file or of
    other data than there are now.
    """
    try:
        card = context.run.whole_supernet_card()
    except StaleInputError:
        return False
    # data that were read for the supernet need not be read again, unless they are to be
    read_data = read_data or begun.data_sha256 != card.data_sha256
    return bool(begun_differences(context, begun, read_data=read_data))


def begun_differences(context: Context, begun: BegunTraining, *, read_data: bool) -> list[str]:
    """In what the run file and, where they are to be read, the data are others than a training was
    begun with, in words; such a one cannot go on.
    """
    run = context.run
    budget = begun.budget
    if budget is None or budget.time_s is None:
        budget = tried_budget(context, None)
    found = setting_differences(begun.settings, with_budget(run, budget).config)
    if read_data and not names_data(found, context.config):
        with contextlib.suppress(MosdeployError):  # which every command would refuse
            data = context.family.load_data(context.config, run.data_root)
            if data.sha256 != begun.data_sha256:
                found.append(OTHER_DATA)
    return found


def refused_training(context: Context, begun: BegunTraining, *, read_data: bool) -> str:
    """Of a training that was stopped where no supernet stands, why it cannot go on, in words; empty
    where it can, and beside a supernet, where it would not count.
    """
    files = next(x for x in (context.files.beside, context.files) if stopped_state(x))
    path = stopped_state(files)
    is_of_teacher = path == files.teacher_checkpoint_path
    if is_of_teacher:
        begun = begun_teacher(files) or begun
    else:
        with contextlib.suppress(StaleInputError):
            context.run.whole_supernet_card()
            return ""
    found = begun_differences(context, begun, read_data=read_data)
    # a teacher does not depend on all that a supernet does; of what it does, train tells the rest
    own = names_data(found, context.config) or OTHER_DATA in found
    if not found or (is_of_teacher and not own):
        return ""
    return f"a training was stopped, and {', '.join(found)}: restore that, or delete {path}"


def deploy_command(context: Context, device: str | None) -> str:
    """What deploys the newest bundle."""
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
