"""The verb `latency import`: a predictor from latencies that others published."""

from dataclasses import dataclass
from pathlib import Path

from ..config.device import load_profile
from ..errors import ConfigError
from ..records import PredictorCard
from ..run_folder.context import Context
from ..run_folder.predictors import has_measurements


@dataclass(frozen=True)
class ImportOptions:
    """A published file of latencies."""

    path: Path
    device: str
    workload: str
    file_format: str = "hat"
    source: str = ""
    licence: str = ""


def import_latency(context: Context, options: ImportOptions) -> PredictorCard:
    """Fit a predictor on a published file of latencies and put it where `search` finds it."""
    config = context.config
    files = context.files
    formats = context.family.latency_formats
    if options.file_format not in formats:
        known = ", ".join(sorted(formats)) or "none"
        raise ConfigError(f"unknown format '{options.file_format}'; known: {known}")
    if options.workload != config.workload.name:
        raise ConfigError(
            f"--workload is '{options.workload}', but this run folder is about "
            f"'{config.workload.name}' ([workload] name in mosdeploy.toml); write the file's name, "
            "lengths and beam there, or import it in another folder"
        )
    name = load_profile(options.device, files.root).name
    if has_measurements(context.run, name):
        own = files.latency_path(name, options.workload)
        raise ConfigError(
            f"{own} holds measurements of '{name}', which count more than a file; move it away "
            "first"
        )
    fit_file = formats[options.file_format]
    found = fit_file(
        options.path, context.spec, device=name, source=options.source, licence=options.licence
    )
    found.save(files.predictor_path(name, options.workload))
    return found.card
