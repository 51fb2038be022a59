"""Which latency predictor a device has: fitted to what was measured, imported, or shipped."""

import contextlib
import functools
import logging
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from ..config import RunConfig
from ..config.device import TAIL_REPEATS, DeviceProfile
from ..config.lookup import lookup_dirs
from ..config.units import Statistic
from ..errors import MosdeployError, PredictorError, StaleInputError
from ..records import LatencyContext, LatencyRecord
from ..spaces.genes import SearchSpace
from ..storage import fingerprint
from ..workspace import LATENCY_NAME, PREDICTOR_NAME, PREDICTORS
from .devices import run_profile
from .run import Run, has_records

if TYPE_CHECKING:
    from ..latency.dataset import LatencyDataset
    from ..latency.predictor import LatencyPredictor


MAX_DRIFTS = 3.0
"""Of the drift that the protocol allows: a noise floor above so many of them is too much."""


def latency_context(run: Run, device: DeviceProfile) -> LatencyContext:
    """Return what a dataset that is begun now has in common, with an id of its own."""
    from ..devices.connect import machine_id
    from ..export.candidate import graph_sha256

    return LatencyContext(
        dataset_id=uuid.uuid4().hex,
        device=device,
        workload=run.config.workload,
        space_sha256=run.space_sha256,
        vocab_size=run.config.vocab_size,
        graph_sha256=graph_sha256(run.config.spec, run.family.build_graph),
        machine_id=machine_id() if device.kind == "local" else None,
    )


def check_current(run: Run, dataset: "LatencyDataset") -> None:
    """Make sure, without asking the device, that a dataset counts for this run."""
    device = run_profile(run.workspace.root, dataset.context.device.name)
    dataset.check(latency_context(run, device))


def max_noise_percent(device: DeviceProfile) -> float:
    """Return the noise floor above which a device's times are not to be trusted."""
    return MAX_DRIFTS * device.measure.max_drift_percent


def noise_problem(dataset: "LatencyDataset") -> str:
    """Describe how far apart repeats lie if they lie too far apart; empty otherwise, and for an
    emulated device, whose times mean nothing in any case.
    """
    device = dataset.context.device
    found_percent = dataset.noise_floor_percent
    most_percent = max_noise_percent(device)
    if device.emulated or found_percent is None or found_percent <= most_percent:
        return ""
    return (
        f"repeats of one subnet lie {found_percent:.2f}% from their median, more than "
        f"{most_percent:g}%"
    )


def profile_command(dataset: "LatencyDataset", *options: str) -> str:
    """Return the command that measures on the boards of a dataset."""
    device = dataset.context.device
    hosts = sorted({session.host for session in dataset.sessions})
    others = (f"--hosts {','.join(hosts)}",) if hosts not in ([], [device.host_alias]) else ()
    return " ".join((f"mosdeploy profile --device {device.name}", *others, *options))


def too_small(config: RunConfig) -> str:
    """Describe that a space has fewer architectures than a predictor needs; empty otherwise."""
    from ..latency.fitting import MIN_SAMPLES

    count = config.space.num_architectures
    if count >= MIN_SAMPLES:
        return ""
    return (
        f"the space holds only {count} of the {MIN_SAMPLES} architectures that a predictor needs; "
        "give [space] more choices, or search with --max-parameters or --max-size"
    )


def further_command(dataset: "LatencyDataset", config: RunConfig) -> str | None:
    """Return what measures further where too few subnets could be timed for a predictor; None where
    more would not help.
    """
    from ..latency.fitting import MIN_SAMPLES

    measured = len(dataset.measured)
    missing = MIN_SAMPLES - len(dataset.usable)
    if missing <= 0 or dataset.context.device.emulated or too_small(config):
        return None
    if config.profile.budget > measured:
        return profile_command(dataset)
    # beyond those that failed, and may fail again
    return profile_command(dataset, f"--budget {measured + missing}")


def unmeasured_choices(dataset: "LatencyDataset", space: SearchSpace) -> list[str]:
    """Name the smallest and largest choices of a space that no timed subnet has: predictions there
    are a guess, whose interval does not tell so.
    """
    genes = space.genes([record.arch for record in dataset.usable])
    found = []
    for entry in space.entries:
        choices = getattr(space, entry.choices)
        timed = np.unique(genes[:, space.gene_slices[entry.choices]])
        ends = dict.fromkeys((min(choices), max(choices)))
        found += [f"{entry.choices} = {end}" for end in ends if end not in timed]
    return found


RUNTIME = "onnxruntime"
"""What runs the bundles, and what `mosdeploy profile` measures."""

_log = logging.getLogger(__name__)

RECENT = timedelta(hours=1)
"""For how long a timing counts in later searches: the device may have been busy, but what a killed
search has just measured is not measured again.
"""


def recent_cutoff() -> datetime:
    """Return the time before which timings no longer count, so that they are measured again."""
    return datetime.now(UTC) - RECENT


def predictor(run: Run, device: str, *, current: bool = True) -> "LatencyPredictor":
    """Return the predictor of a device for this run's workload: its own, else a shipped one."""
    from ..latency.dataset import LatencyDataset, runtime_family

    path = run.workspace.latency_path(device, run.config.workload.name)
    measured = has_measurements(run, device)
    if measured:
        found = fitted(run, device, current=current)
        dataset = LatencyDataset.load(path)
        if noise := noise_problem(dataset):
            _warn_of_noise(path, device, noise, profile_command(dataset, "--renew"))
    else:
        folders = lookup_dirs(PREDICTORS, run.workspace.root)
        found = _ready_made(run, device, folders, current=current)
    found.check(run.config.spec, device, RUNTIME if measured else None)
    if runtime_family(found.card.runtime) != RUNTIME:
        _log.warning(
            "the predictor of '%s' was fitted on %s, not on ONNX Runtime, which runs the bundle: "
            "what it predicts is a guess until `mosdeploy profile --device %s` measures",
            device,
            found.card.runtime or "an unknown runtime",
            device,
        )
    return found


def has_measurements(run: Run, device: str) -> bool:
    """Whether something was measured on a device here, which counts more than a shipped
    predictor.
    """
    return has_records(run.workspace.latency_path(device, run.config.workload.name))


@functools.cache  # told once, however often a process asks for the predictor
def _warn_of_noise(path: Path, device: str, noise: str, command: str) -> None:
    _log.warning(
        "TOO NOISY: on '%s' %s: neither the times nor the predictor can be trusted; stop other "
        "programs there, and run `%s` (%s)",
        device,
        noise,
        command,
        path,
    )


def tail_ratio(run: Run, device: str, statistic: Statistic, *, current: bool = True) -> float:
    """Return how many times the median another figure of the times is: the median over the subnets
    that were measured on a device.
    """
    if statistic == "median":
        return 1.0
    profiled = _measured(run, device, current=current).usable
    records = [*profiled, *_finalists(run, device, statistic, current=current)]
    ratios = []
    enough = []  # those with enough repeats in each round
    for record in records:
        total = record.measurement.total
        if total is None:
            continue
        ratios.append(total.of(statistic) / total.median_ms)
        # joined rounds tell the sum of their repeats, but the median of their figures
        if total.repeats >= TAIL_REPEATS[statistic] * record.measurement.rounds:
            enough.append(ratios[-1])
    if not enough:
        _warn_of_few_repeats(device, statistic)
    return median(enough or ratios)


def _finalists(
    run: Run, device: str, statistic: Statistic, *, current: bool
) -> Sequence[LatencyRecord]:
    """Return finalists of earlier searches that were timed for a figure and still count."""
    from ..latency.dataset import LatencyDataset

    path = run.workspace.verified_path(device, run.config.workload.name)
    with contextlib.suppress(StaleInputError):
        dataset = LatencyDataset.load(path)
        if not current:
            return dataset.usable
        profile = run_profile(run.workspace.root, device)
        dataset.check(latency_context(run, profile.timed_for(statistic)))
        # the device may have been busy then
        first = recent_cutoff().isoformat(timespec="seconds")
        return [record for record in dataset.usable if record.measured_at >= first]
    return ()


@functools.cache  # told once, as above
def _warn_of_few_repeats(device: str, statistic: Statistic) -> None:
    _log.warning(
        "the %s on '%s' is predicted from fewer than %d repeats of each subnet, which miss most of "
        "the rare long runs: it may be longer; a search that measures its finalists finds out",
        statistic,
        device,
        TAIL_REPEATS[statistic],
    )


def fitted(run: Run, device: str, *, current: bool = True) -> "LatencyPredictor":
    """Return the predictor of a device's measurements, fitted again when these have changed."""
    saved = _saved(run, device)
    dataset = _measured(run, device, current=current)
    # `profile --renew` puts it away with the measurements
    known = saved or _saved(run, device, suffix=".old")
    trial = known.card.transfer if known else None
    source = trial.source if trial and trial.used else None
    if saved is not None and saved.card.dataset_sha256 == dataset.sha256:
        if trial is None or source is None:
            return saved
        try:
            is_same = fingerprint(_source(run, source, device)) == trial.source_sha256
        except MosdeployError:  # the source is gone: what was fitted stays
            is_same = True
        if is_same:
            return saved
        _log.warning("the predictor of '%s' has changed: correcting it again", source)
    return fit_again(run, device, source, current=current)


def fit_again(
    run: Run, device: str, source: str | None, *, current: bool = True
) -> "LatencyPredictor":
    """Fit a device's predictor to what was measured there, and save it."""
    from ..latency.predictor import LatencyPredictor, fit_transfer

    dataset = _measured(run, device, current=current)
    if source is None:
        if not dataset.context.device.emulated and (reason := too_small(run.config)):
            raise PredictorError(reason)
        found = LatencyPredictor.fit_dataset(run.config.space, dataset)
        if untimed := unmeasured_choices(dataset, run.config.space):
            _log.warning(
                "no subnet that was timed on '%s' has %s: what is predicted there is a guess; "
                "`%s --budget N` measures more, and names those that fail",
                device,
                ", ".join(untimed),
                profile_command(dataset),
            )
    else:
        found = fit_transfer(run.config.space, dataset, _source(run, source, device))
    found.save(run.workspace.predictor_path(device, run.config.workload.name))
    return found


def _source(run: Run, source: str, device: str) -> "LatencyPredictor":
    if source != device and has_measurements(run, source):
        found = fitted(run, source)
    else:
        folders = lookup_dirs(PREDICTORS, run.workspace.root)
        try:
            found = _ready_made(run, source, folders[1:] if source == device else folders)
        except StaleInputError as error:
            if source != device:
                raise
            raise StaleInputError(
                f"no predictor of '{device}' is shipped that could be corrected; `mosdeploy fit "
                f"--device {device}` fits its own measurements"
            ) from error
    trial = found.card.transfer
    if trial is not None and trial.used:
        raise PredictorError(
            f"the predictor of '{source}' was itself corrected from that of '{trial.source}'; use "
            f"--from {trial.source}, or measure more and run `mosdeploy fit --device {source}`"
        )
    found.check(run.config.spec, source)
    return found


def _ready_made(
    run: Run, device: str, folders: Sequence[Path], *, current: bool = True
) -> "LatencyPredictor":
    """Return the first predictor that the folders hold."""
    from ..latency.predictor import LatencyPredictor

    workload = run.config.workload.name
    paths = [folder / f"{device}-{workload}" / PREDICTOR_NAME for folder in folders]
    kept = (x for x in paths if x.exists() and not (current and lost_its_measurements(x)))
    path = next(kept, None)
    if path is None:
        raise StaleInputError(
            f"nothing was measured on device '{device}' for workload '{workload}', and no "
            f"predictor of it is shipped; run `mosdeploy profile --device {device}` first"
        )
    return LatencyPredictor.load(path)


def lost_its_measurements(path: Path) -> bool:
    """Whether a predictor was fitted to measurements that lay beside it and are gone: nobody knows
    whether they would still count.
    """
    from ..latency.dataset import SESSIONS_NAME
    from ..latency.predictor import LatencyPredictor

    if has_records(path.with_name(LATENCY_NAME)) or not path.with_name(SESSIONS_NAME).exists():
        return False
    return not LatencyPredictor.load(path).card.source


def _saved(run: Run, device: str, suffix: str = ".json") -> "LatencyPredictor | None":
    """The predictor in the run folder; None if there is none or, with a warning, if it cannot be
    read.
    """
    from ..latency.predictor import LatencyPredictor

    path = run.workspace.predictor_path(device, run.config.workload.name).with_suffix(suffix)
    if not path.exists():
        return None
    try:
        return LatencyPredictor.load(path)
    except MosdeployError as error:
        _log.warning("%s (fitting it again now)", error)
        return None


def _measured(run: Run, device: str, *, current: bool = True) -> "LatencyDataset":
    from ..latency.dataset import LatencyDataset

    dataset = LatencyDataset.load(run.workspace.latency_path(device, run.config.workload.name))
    if current:
        check_current(run, dataset)
    return dataset
