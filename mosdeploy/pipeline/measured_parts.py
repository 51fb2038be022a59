"""What was measured in a run folder, and the predictors of it."""

from collections.abc import Iterator

from ..folders import listed
from ..locks import is_locked
from ..run_folder.context import Context
from ..run_folder.enough_measured import excess_noise, profile_command, too_small
from ..run_folder.measured_folders import device_of, has_records
from ..run_folder.summaries import Part
from .measured_device import MeasuredDevice, profile_of
from .parts import look_at


def measured_parts(context: Context) -> Iterator[Part]:
    """Measurements and predictor of every device; of other workloads that they are not used."""
    workload = context.config.workload.name
    folders = listed(context.files.predictors_dir, "*/")
    devices = []
    for folder in folders:
        if (device := device_of(folder, workload)) is not None:
            devices.append(device)
        else:
            detail = f"of another workload than '{workload}'"
            yield Part(what="measurements", name=folder.name, state="unused", detail=detail)
    looks = [MeasuredDevice(context, device) for device in devices]
    is_any_measured = any(not found.is_begun for found in looks)
    for found in looks:
        yield from _begun(found, is_any_measured) if found.is_begun else _finished(found)
    if context.config.served_by is not None:
        return  # the architecture of a task is chosen before, so that nothing has to be measured
    wanted = context.config.device
    if (wanted or not devices) and wanted not in devices:
        device = context.run.device_name(None)
        yield Part(what="measurements", name=device, state="missing", command=profile_of(device))


def _finished(found: MeasuredDevice) -> Iterator[Part]:
    is_stale = False
    is_running = is_locked(found.path)
    if is_running:
        yield found.running(is_any_measured=False)
    elif has_records(found.path):
        part = look_at("measurements", found.device, found.measurements, found.command)
        if part.state == "ok" and (noise := excess_noise(found.dataset)):
            command = profile_command(found.dataset, "--renew")
            detail = f"TOO NOISY: {noise}; `{command}` measures again"
            part = part.model_copy(update={"state": "noisy", "detail": detail, "command": command})
        is_stale = part.state == "stale"
        yield part
    elif found.is_lost:
        yield Part(what="measurements", name=found.device, state="missing", command=found.command)
    if not found.is_emulated:
        part = look_at("predictor", found.device, found.predictor, found.fit_command)
        if part.state != "ok" and (reason := too_small(found.context.config)):
            part = part.model_copy(update={"detail": reason, "command": None})
        elif part.state == "ok" and is_stale:  # and is fitted again with them
            detail = "fitted to measurements that no longer count"
            part = part.model_copy(update={"state": "stale", "detail": detail})
        # what is measured now is fitted by the same command
        yield part.model_copy(update={"command": None}) if is_running else part


def _begun(found: MeasuredDevice, is_any_measured: bool) -> Iterator[Part]:
    """A device without measurements: it is proposed only if the walk needs it."""
    if is_locked(found.path):
        yield found.running(is_any_measured)
        return
    command = found.first_command
    detail = f"begun; `{found.begun_command}` goes on, also with what was measured there meanwhile"
    if command != found.begun_command:
        detail += f"; `mosdeploy devices check {found.device}` says whether it answers"
    yield Part(
        what="measurements",
        name=found.device,
        state="missing",
        detail=detail,
        command=command if found.is_wanted(is_any_measured) else None,
    )
