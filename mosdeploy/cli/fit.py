"""The verb `fit`."""

from typing import TYPE_CHECKING

from ..run_folder.options import FitOptions
from .options import Common
from .printing import card_line, rescaled_lines

if TYPE_CHECKING:
    from ..records import PredictorCard


def fit(common: Common, options: FitOptions) -> None:
    """Fit the latency predictor to what was measured. `profile` and `search` do this too."""
    from ..pipeline.fit import fit as fit_predictor
    from ..run_folder.status import next_command

    context = common.context()
    card = fit_predictor(context, options)
    text = f"{card.device}-{card.workload}: {card_line(card)}{_transfer(card)}"
    lines = [text, *rescaled_lines(card)]
    common.show(card, "\n".join(lines), next_command(context))


def _transfer(card: "PredictorCard") -> str:
    trial = card.transfer
    if trial is None:
        return ""
    scratch = "too few subnets"
    if trial.scratch_percent is not None:
        scratch = f"{trial.scratch_percent:.2f}%"
    used = f"corrected from {trial.source}"
    if not trial.used:
        used = f"fitted from scratch, not from {trial.source}"
    return (
        f"\n{used}: error {trial.error_percent:.2f}%, from scratch {scratch} (best nine tenths, "
        "held out)"
    )
