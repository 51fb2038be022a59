"""The verb `fit`: fit the latency predictor to what was measured."""

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
    StaleInputError
        If nothing was measured, or the measurements are corrupt or of another space; or if `source`
        has no predictor.
    PredictorError
        If too few subnets were measured, or the device is emulated; or if `source` does not suit.
    """
    return fit_again(context.run, context.run.profiled_device_name(device), source).card
