"""Which latency predictor a device has: fitted to what was measured, imported, or shipped.

In: a run and a device's name. Out: a `LatencyPredictor` that was checked against the run. This file
measures nothing.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.device import load_profile
from ..config.lookup import lookup_dirs
from ..errors import ConfigError, MosdeployError, PredictorError, StaleInputError
from ..records import PredictorCard
from .run import Run

if TYPE_CHECKING:
    from ..latency.dataset import LatencyDataset
    from ..latency.predictor import LatencyPredictor

RUNTIME = "onnxruntime"
"""What runs the bundles, and what `mosdeploy profile` measures."""


def predictor(run: Run, device: str) -> "LatencyPredictor":
    """The predictor of a device for this run's workload: from its own measurements, else imported,
    else shipped.

    Warns where it was fitted on another runtime than the bundle's: that is all there is without a
    board, and the finalists of a search are measured all the same.

    Raises
    ------
    StaleInputError
        If there is none.
    PredictorError
        If it was fitted for another space, vocabulary, device or workload.
    """
    from ..latency.dataset import runtime_family

    config = run.config
    measured = run.workspace.latency_path(device, config.workload.name).exists()
    found = (
        fitted(run, device)
        if measured
        else _ready_made(run, device, lookup_dirs("predictors", run.workspace.root))
    )
    found.check(
        config.space,
        config.workload,
        config.corpus.vocab_size,
        device,
        RUNTIME if measured else None,
    )
    if runtime_family(found.card.runtime) != RUNTIME:
        warnings.warn(
            f"the predictor of '{device}' speaks of {found.card.runtime or 'an unknown runtime'}, not of ONNX Runtime, "
            f"which runs the bundle: what it predicts is a guess until `mosdeploy profile --device {device}` measures",
            stacklevel=2,
        )
    return found


def fitted(run: Run, device: str) -> "LatencyPredictor":
    """The predictor that was fitted to a device's measurements; fitted again when those have
    changed.

    A predictor that was corrected from another device's (`fit --from`) is corrected from it again.

    Raises
    ------
    StaleInputError
        If nothing was measured, or the measurements are corrupt or of another space.
    PredictorError
        If too few subnets were measured, or the device is emulated.
    """
    saved, dataset = _saved(run, device), _measured(run, device)
    if saved is not None and saved.card.dataset_sha256 == dataset.sha256:
        return saved
    trial = saved.card.transfer if saved is not None else None
    return fit_again(run, device, trial.source if trial is not None and trial.used else None)


def fit_again(run: Run, device: str, source: str | None) -> "LatencyPredictor":
    """Fit a device's predictor to what was measured there, and save it.

    Parameters
    ----------
    source
        A device whose predictor is corrected, if that beats the fit from scratch. The device itself
        stands for the predictor of it that is shipped.

    Raises
    ------
    StaleInputError
        As `fitted`; or if `source` has no predictor.
    PredictorError
        As `fitted`; or if the predictor of `source` is of another space, vocabulary or workload, or
        was itself corrected from another one.
    """
    from ..latency.predictor import LatencyPredictor
    from ..latency.transfer import fit_transfer

    dataset = _measured(run, device)
    if source is None:
        found = LatencyPredictor.fit_dataset(run.config.space, dataset)
    else:
        found = fit_transfer(run.config.space, dataset, _source(run, source, device))
    found.save(run.workspace.predictor_path(device, run.config.workload.name))
    return found


def import_latency(
    run: Run,
    csv_path: Path,
    file_format: str,
    device: str,
    workload: str,
    source: str,
    licence: str,
) -> PredictorCard:
    """Fit a predictor on a published file of latencies and put it where `search` finds it.

    Parameters
    ----------
    file_format
        Only "hat": HAT's CSV files.
    workload
        Must be the name of the run's workload; typed so that nobody takes one task's file for
        another's.
    source, licence
        Where the file is from and what it may be used for, for the card.

    Raises
    ------
    ConfigError
        If the format, the device or the workload is unknown, the file is missing or wrong, its rows
        are too few or of another space, or the device has measurements of its own in this run
        folder.
    """
    from ..families.translation.hat import fit_hat, read_hat

    config = run.config
    if file_format != "hat":
        raise ConfigError(f"unknown format '{file_format}'; known: hat")
    if workload != config.workload.name:
        raise ConfigError(
            f"--workload is '{workload}', but this run folder is about '{config.workload.name}' ([workload] name in "
            "mosdeploy.toml); write the file's name, lengths and beam there, or import it in another folder"
        )
    name = load_profile(device, run.workspace.root).name
    own = run.workspace.latency_path(name, workload)
    if own.exists():
        raise ConfigError(
            f"{own} holds measurements of '{name}', which count more than a file; move it away first"
        )
    found = fit_hat(
        read_hat(csv_path),
        config.space,
        config.workload,
        config.corpus.vocab_size,
        device=name,
        source=source,
        licence=licence,
    )
    found.save(run.workspace.predictor_path(name, workload))
    return found.card


def _source(run: Run, source: str, device: str) -> "LatencyPredictor":
    config, files = run.config, run.workspace
    if source != device and files.latency_path(source, config.workload.name).exists():
        found = fitted(run, source)
    else:
        folders = lookup_dirs("predictors", files.root)
        found = _ready_made(run, source, folders[1:] if source == device else folders)
    trial = found.card.transfer
    if trial is not None and trial.used:
        raise PredictorError(
            f"the predictor of '{source}' was itself corrected from that of '{trial.source}'; use "
            f"--from {trial.source}, or measure more and run `mosdeploy fit --device {source}`"
        )
    found.check(config.space, config.workload, config.corpus.vocab_size, source)
    return found


def _ready_made(run: Run, device: str, folders: list[Path]) -> "LatencyPredictor":
    """An imported or shipped predictor: the first that the folders hold."""
    from ..latency.predictor import LatencyPredictor

    workload = run.config.workload.name
    paths = [folder / f"{device}-{workload}" / "predictor.json" for folder in folders]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        raise StaleInputError(
            f"nothing was measured on device '{device}' for workload '{workload}', and no predictor of it is shipped; "
            f"run `mosdeploy profile --device {device}` first"
        )
    return LatencyPredictor.load(path)


def _saved(run: Run, device: str) -> "LatencyPredictor | None":
    """The predictor in the run folder; None, with a warning where that is a surprise, if it has to
    be fitted anew.
    """
    from ..latency.predictor import LatencyPredictor

    path = run.workspace.predictor_path(device, run.config.workload.name)
    if not path.exists():
        return None
    try:
        return LatencyPredictor.load(path)
    except MosdeployError as error:
        warnings.warn(f"{error} (fitting it again now)", stacklevel=2)
        return None


def _measured(run: Run, device: str) -> "LatencyDataset":
    from ..latency.dataset import LatencyDataset

    return LatencyDataset.load(run.workspace.latency_path(device, run.config.workload.name))
