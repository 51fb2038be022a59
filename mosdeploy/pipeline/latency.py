"""Verbs about latency: profile, fit; and the predictor and the measurements that a search asks for."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MosdeployError, StaleInputError
from ..profiles import load_profile
from ..records import PredictorCard, ProfileSummary
from ..workspace import lookup_dirs
from .measuring import collect
from .run import Progress, Run
from .sessions import floor_percent

if TYPE_CHECKING:
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
        floor_percent=floor_percent(path),
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
