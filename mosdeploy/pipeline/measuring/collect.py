"""Where export, devices and latency meet: subnets measured on devices, into a dataset."""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ...config.device import DeviceProfile, with_host
from ...errors import (
    ConfigError,
    DeviceBusyError,
    DeviceError,
    OtherConditionsError,
    StaleInputError,
)
from ...records import DeviceState, Measurement
from ...run_folder.context import Context
from ...run_folder.devices import connector, lasting_device
from ...run_folder.predictors import latency_context, max_noise_percent, noise_problem
from ...spaces.genes import ArchConfig
from ...storage import disk_errors, locked
from ...workspace import PREDICTOR_NAME

if TYPE_CHECKING:
    from ...devices.measure import MeasurementTask
    from ...latency.dataset import LatencyDataset

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CollectRequest:
    """What is to be measured, on which boards, into which file.

    `renew` puts away what was measured under other conditions or, without `since`, too noisily;
    `look` asks the boards first whether they are as they were. Timings of before `since` are made
    again.
    """

    device: DeviceProfile
    archs: Sequence[ArchConfig]
    path: Path
    boards: Sequence[DeviceProfile] = ()
    renew: bool = False
    look: bool = True
    since: datetime | None = None


@dataclass
class CollectResult:
    """A dataset that has all that was asked for; how much was measured now; why boards failed."""

    dataset: "LatencyDataset"
    measured_now: int = 0
    failed_boards: dict[str, str] = field(default_factory=dict)


def boards_of(device: DeviceProfile, hosts: Sequence[str]) -> list[DeviceProfile]:
    """Return the profile of each board of a fleet; the device's own where no hosts are named."""
    if not hosts:
        return [device]
    twice = sorted({host for host in hosts if hosts.count(host) > 1})
    if twice:
        raise ConfigError(
            f"--hosts names {', '.join(twice)} twice; a board measures one subnet at a time, name "
            "it once"
        )
    return [with_host(device, host) for host in hosts]


def put_away(device: str, path: Path) -> None:
    """Keep measurements under another name, so that they are made again; there may be none."""
    if path.exists():
        with locked(path, _busy(device, path)):
            _put_away(path)


def collect(context: Context, request: CollectRequest) -> CollectResult:
    """Measure those of some architectures that a dataset lacks."""
    boards = request.boards or [request.device]
    with locked(request.path, _busy(request.device.name, request.path)):
        try:
            return _collect(context, request, boards)
        except OtherConditionsError as error:
            # a file of a profile that timed nothing is about nothing
            if _has_times(request.path):
                if not request.renew:
                    raise
                _reach_any(context, boards)
                context.progress.say(f"measuring again: {error.what}")
            _put_away(request.path)
            return _collect(context, request, boards)


def _busy(device: str, path: Path) -> DeviceBusyError:
    return DeviceBusyError(
        f"another command measures on '{device}' into {path}; wait for it, or stop it"
    )


def _reach_any(context: Context, boards: Sequence[DeviceProfile]) -> None:
    """Make sure that what is put away can be measured again, on one of some boards at least."""
    from ...devices.probe import check_ready, probe

    errors: list[ConfigError | DeviceError] = []
    for profile in boards:
        try:
            with lasting_device(context, profile) as device:
                check_ready(probe(device), profile)
            return
        except (ConfigError, DeviceError) as error:
            errors.append(error)
    raise errors[-1]


def _put_away(path: Path) -> None:
    """Keep measurements that no longer count under another name, and what was fitted to them; a
    file without a time is removed, so that it takes the place of none that has some.
    """
    if not _has_times(path):
        with disk_errors(path):
            path.unlink(missing_ok=True)
        return
    for file in (path, path.with_name(PREDICTOR_NAME)):
        with disk_errors(file):
            if file.exists():
                file.replace(file.with_suffix(".old"))


def _has_times(path: Path) -> bool:
    from ...latency.dataset import LatencyDataset

    try:
        return bool(LatencyDataset.load(path).usable)
    except StaleInputError:  # nobody knows what it holds
        return True


def _collect(
    context: Context, request: CollectRequest, boards: Sequence[DeviceProfile]
) -> CollectResult:
    from ...latency.dataset import LatencyDataset

    wanted = latency_context(context.run, request.device)
    found = CollectResult(LatencyDataset.open(request.path, wanted))
    dataset = found.dataset
    if dataset.torn:
        _log.warning(
            "%s: the last line was cut short by a kill; it is measured again", request.path
        )
    looked: dict[str, DeviceState] = {}
    if request.look and dataset.sessions:
        looked = _look(context, dataset, boards, request.since)
    # after the boards have answered: what was measured is put away
    if request.renew and request.since is None:
        if noise := noise_problem(dataset):
            raise OtherConditionsError(f"{noise} there")
        if dataset.records:
            context.progress.say(_nothing_to_renew(dataset))
    if missing := _missing(dataset, request):
        _measure(context, found, missing, boards, looked)
    _clean(context, dataset, [x for x in boards if x.host_alias not in found.failed_boards])
    return found


def _nothing_to_renew(dataset: "LatencyDataset") -> str:
    """Describe why measurements stay that were to be made again."""
    why = "the conditions are the same"
    if (found_percent := dataset.noise_floor_percent) is not None:
        most_percent = max_noise_percent(dataset.context.device)
        why += (
            f", and repeats of one subnet lie {found_percent:.2f}% from their median, of "
            f"{most_percent:g}% that may be"
        )
    folder = dataset.path.parent  # with what was fitted to them
    return f"nothing to measure again: {why}; to do so all the same, move the folder {folder} away"


def _missing(dataset: "LatencyDataset", request: CollectRequest) -> dict[str, ArchConfig]:
    """Return what has no time that still counts, by the names under which it is measured."""
    if request.since is None:
        return dataset.missing(request.archs)
    # texts of one form, which are ordered as the times are; a clock may have been set back since
    first = request.since.astimezone(UTC).isoformat(timespec="seconds")
    last = datetime.now(UTC).isoformat(timespec="seconds")
    outdated = {"measurement": Measurement(error="measured too long ago")}
    records = [
        record if first <= record.measured_at <= last else record.model_copy(update=outdated)
        for record in dataset.records
    ]
    return replace(dataset, records=records).missing(request.archs)


def _look(
    context: Context,
    dataset: "LatencyDataset",
    boards: Sequence[DeviceProfile],
    since: datetime | None,
) -> dict[str, DeviceState]:
    """Make sure, before an agent is started, that the boards are as they were when they measured,
    and hold no results of before a time, which a killed command has left.
    """
    from ...devices.job import AgentJob

    looked = {}
    is_fleet = len(boards) > 1
    job_id = context.run.job_id(dataset.context.dataset_id)
    for profile in boards:
        with contextlib.suppress(*([ConfigError, DeviceError] if is_fleet else [])):
            state = board_state(context, profile, job_id)
            if state is not None:
                dataset.check_board(profile.host_alias, state, is_fleet=is_fleet)
                looked[profile.host_alias] = state
            if since is not None:
                max_age_s = (datetime.now(UTC) - since).total_seconds()
                with lasting_device(context, profile) as device:
                    AgentJob(device, job_id).remove_results(max_age_s)
    return looked


def board_state(context: Context, profile: DeviceProfile, job_id: str) -> DeviceState | None:
    """Return what a board says of itself; None where it measures for this very job, and is not
    disturbed.
    """
    from ...devices.job import AgentJob
    from ...devices.probe import check_ready, probe

    with lasting_device(context, profile) as device:
        job = AgentJob(device, job_id)
        job.refuse_if_busy()
        if job.is_running():
            return None
        state = probe(device)
    check_ready(state, profile)
    return state


def _measure(
    context: Context,
    found: CollectResult,
    missing: Mapping[str, ArchConfig],
    profiles: Sequence[DeviceProfile],
    looked: Mapping[str, DeviceState],
) -> None:
    """Measure some architectures, and append each to the dataset as soon as it is accepted."""
    from ...devices.fleet import Board, measure_fleet
    from .recorder import ProfileRecorder

    dataset = found.dataset
    latest = {session.host: session.state for session in dataset.sessions}
    boards = [
        Board(
            x,
            connector(x, context.ssh_config),
            last_state=latest.get(x.host_alias),
            state=looked.get(x.host_alias),
        )
        for x in profiles
    ]
    recorder = ProfileRecorder(dataset, missing, context.progress, is_fleet=len(boards) > 1)
    task = _task(context, dataset, missing)
    with contextlib.closing(measure_fleet(boards, missing, task)) as events:
        for event in events:
            recorder.record(event)
    found.measured_now = len(missing)
    found.failed_boards = recorder.failed_boards


def _task(
    context: Context, dataset: "LatencyDataset", missing: Mapping[str, ArchConfig]
) -> "MeasurementTask":
    from ...devices.measure import MeasurementTask
    from ...devices.on_device.agent import REFERENCE
    from ...export.candidate import build_candidate, candidate_weights_bytes

    spec = context.spec
    build_graph = context.family.build_graph
    archs = {**missing, REFERENCE: spec.reference_arch()}
    return MeasurementTask(
        job_id=context.run.job_id(dataset.context.dataset_id),
        stages=spec.timing_stages(),
        threads=spec.workload.threads,
        build=lambda key: build_candidate(spec, archs[key], build_graph),
        weights_bytes=candidate_weights_bytes(spec, build_graph),
    )


def _clean(context: Context, dataset: "LatencyDataset", boards: Sequence[DeviceProfile]) -> None:
    """Remove what killed commands have left on boards that had nothing to measure since; no other
    board is asked anything.
    """
    from ...devices.job import AgentJob
    from ...devices.probe import describe
    from ...latency.dataset import end_session

    latest = {session.host: session for session in dataset.sessions}
    for profile in boards:
        last = latest.get(profile.host_alias)
        if last is None or last.after is not None:
            continue
        try:
            with lasting_device(context, profile) as device:
                job = AgentJob(device, context.run.job_id(dataset.context.dataset_id))
                job.refuse_if_busy()
                job.kill()
                job.remove("candidates")
                end_session(dataset.path, last, describe(device))
        except DeviceError as error:
            context.progress.say(
                f"{profile.host_alias}: what a killed command left there could not be removed, the "
                f"same command tries it again: {error}"
            )
