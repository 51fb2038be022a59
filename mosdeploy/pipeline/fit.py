"""The verb `fit`: fit the latency predictor to what was measured."""

from ..config.device import load_profile
from ..records import PredictorCard
from ..run_folder.context import Context
from ..run_folder.options import FitOptions
from ..run_folder.predictors import fit_again


def fit(context: Context, options: FitOptions | None = None) -> PredictorCard:
    """Fit the latency predictor of a device to what was measured there."""
    options = options or FitOptions()
    name = context.run.profiled_device_name(options.device)
    load_profile(name, context.files.root)
    source = options.source
    workload = context.config.workload.name
    # a predictor may have come without a profile
    if source is not None and not context.files.predictor_path(source, workload).exists():
        load_profile(source, context.files.root)
    return fit_again(context.run, name, source).card
