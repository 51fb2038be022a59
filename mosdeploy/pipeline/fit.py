"""The verb `fit`: fit the latency predictor to what was measured."""

from ..config.device import load_profile
from ..records import PredictorCard
from .context import Context
from .predictors import fit_again


def fit(context: Context, device: str | None = None, source: str | None = None) -> PredictorCard:
    """Fit the latency predictor of a device to what was measured there.

    Parameters
    ----------
    source
        A device whose predictor is corrected by these measurements, if that beats the fit from
        scratch.

    Raises
    ------
    ConfigError
        If the device or `source` has no profile, or the file of one is wrong.
    StaleInputError
        If nothing was measured, or the measurements are corrupt or of another space; or if `source`
        has no predictor.
    PredictorError
        If too few subnets were measured, or the device is emulated; or if `source` does not suit.
    """
    name = context.run.profiled_device_name(device)
    for named in (name, source or name):
        load_profile(named, context.files.root)
    return fit_again(context.run, name, source).card
