"""Verbs about latency: profile, fit; and the predictor and the measurements that a search asks for."""

import datetime
import uuid
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import DeviceProfile
from ..errors import DeviceBusyError, MosdeployError, StaleInputError
from ..profiles import load_profile
from ..records import LatencyContext, LatencyRecord, PredictorCard, ProfileSummary, SessionRecord
from ..space import ArchConfig
from ..workspace import append_line, locked, lookup_dirs
from .devices import connector
from .run import Progress, Run

if TYPE_CHECKING:
    from ..latency.dataset import LatencyDataset
    from ..latency.predictor import LatencyPredictor


def profile(run: Run, device: str | None, budget: int | None, ssh_config: Path, progress: Progress) -> ProfileSummary:
    """Measure well-chosen subnets on a device, those that are not measured yet, and fit the predictor.

    Parameters
    ----------
    budget
        How many subnets are to be measured in all; None takes the config's.

    Raises
    ------
    DeviceError
        If the device cannot be reached, lacks something, is busy, or the link is lost for good.
    StaleInputError
        If the measurements at hand are of another space, workload or device, or corrupt.
    """
    from ..latency.design import choose

    config, name = run.config, run.device_name(device)
    target = load_profile(name, run.workspace.root)
    chosen = choose(
        config.space, config.workload, config.corpus.vocab_size, budget or config.profile.budget, config.profile.seed
    )
    path = run.workspace.latency_path(name, config.workload.name)
    dataset, measured_now = collect(run, target, chosen, path, ssh_config, progress)
    can_fit = not target.emulated and len(dataset.usable) >= _min_samples()
    return ProfileSummary(
        device=name,
        path=str(path),
        measured_now=measured_now,
        num_records=len(dataset.measured),
        failed=len(dataset.measured) - len(dataset.usable),
        card=_fitted(run, name).card if can_fit else None,
    )


def fit(run: Run, device: str | None) -> PredictorCard:
    """Fit the latency predictor of a device to what was measured there.

    Raises
    ------
    StaleInputError
        If nothing was measured, or the measurements are corrupt or of another space.
    PredictorError
        If too few subnets were measured, or the device is emulated.
    """
    return _fitted(run, run.profiled_device_name(device), refit=True).card


def predictor(run: Run, device: str) -> "LatencyPredictor":
    """The predictor of a device for this run's workload: from its own measurements, else a shipped one.

    Raises
    ------
    StaleInputError
        If there is neither.
    PredictorError
        If it was fitted for another space, vocabulary, device or workload.
    """
    from ..latency.predictor import LatencyPredictor

    config, files = run.config, run.workspace
    if files.latency_path(device, config.workload.name).exists():
        found = _fitted(run, device)
    else:
        folders = [folder / f"{device}-{config.workload.name}" for folder in lookup_dirs("predictors", files.root)]
        path = next((folder / "predictor.json" for folder in folders if (folder / "predictor.json").exists()), None)
        if path is None:
            raise StaleInputError(
                f"nothing was measured on device '{device}' for workload '{config.workload.name}'; "
                f"run `mosdeploy profile --device {device}` first"
            )
        found = LatencyPredictor.load(path)
    found.check(config.space, config.workload, config.corpus.vocab_size, device)
    return found


def collect(
    run: Run, target: DeviceProfile, archs: Sequence[ArchConfig], path: Path, ssh_config: Path, progress: Progress
) -> "tuple[LatencyDataset, int]":
    """Measure those of some architectures that a dataset lacks; returns it and how many were measured now.

    Raises
    ------
    DeviceError
        As `profile`.
    StaleInputError
        As `profile`.
    """
    from ..devices.measure import collect as measure
    from ..devices.probe import probe
    from ..export.candidate import build_candidate, candidate_weights_bytes
    from ..latency.dataset import LatencyDataset

    space, workload, vocab_size = run.config.space, run.config.workload, run.config.corpus.vocab_size
    context = LatencyContext(
        dataset_id=uuid.uuid4().hex,
        device=target,
        workload=workload,
        space_sha256=run.space_sha256,
        vocab_size=vocab_size,
    )
    busy = DeviceBusyError(f"another command measures on '{target.name}' into {path}; wait for it, or stop it")
    with locked(path, busy):
        dataset = LatencyDataset.open(path, context)
        if dataset.torn:
            warnings.warn(f"{path}: the last line was cut short by a kill; it is measured again", stacklevel=2)
        missing = {arch.key: arch for arch in archs if arch.key not in dataset.measured}
        if not missing:
            return dataset, 0
        connect = connector(target, ssh_config)
        with connect() as session:
            state = probe(session, target)
        session_id = uuid.uuid4().hex[:8]
        append_line(path.parent / "sessions.jsonl", SessionRecord(session=session_id, started_at=_now(), state=state))
        runtime = f"onnxruntime {state.onnxruntime_version}"
        stage, total = f"measure on {target.name}", len(missing)
        progress.update(stage, 0, total)
        results = measure(
            connect,
            target,
            workload,
            vocab_size,
            dataset.context.dataset_id,
            list(missing),
            lambda key: build_candidate(missing[key], space, vocab_size, workload),
            candidate_weights_bytes(space, vocab_size, workload),
            progress.say,
        )
        for done, (key, measurement) in enumerate(results, start=1):
            dataset.append(
                LatencyRecord(
                    arch=missing[key], measurement=measurement, runtime=runtime, measured_at=_now(), session=session_id
                )
            )
            timing = measurement.total
            progress.update(
                stage, done, total, f"{timing.median_ms:.2f} ms" if timing else f"failed: {measurement.error}"
            )
        return dataset, total


def _fitted(run: Run, device: str, refit: bool = False) -> "LatencyPredictor":
    from ..latency.dataset import LatencyDataset
    from ..latency.predictor import LatencyPredictor

    workload = run.config.workload.name
    path = run.workspace.predictor_path(device, workload)
    dataset = LatencyDataset.load(run.workspace.latency_path(device, workload))
    if not refit and path.exists():
        try:
            found = LatencyPredictor.load(path)
        except MosdeployError as error:
            warnings.warn(f"{error} (fitting it again now)", stacklevel=2)
        else:
            if found.card.dataset_sha256 == dataset.sha256:
                return found
    found = LatencyPredictor.fit_dataset(run.config.space, dataset)
    found.save(path)
    return found


def _min_samples() -> int:
    from ..latency.fitting import MIN_SAMPLES

    return MIN_SAMPLES


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
