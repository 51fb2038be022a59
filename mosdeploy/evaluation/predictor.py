"""The quality predictor: fitted to the losses of some subnets, it predicts those of thousands."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import PredictorError
from ..records import QualityCard
from ..regression.cross_validation import folds
from ..regression.mlp import FloatArray, MlpEnsemble, fit_mlp
from ..spaces.genes import GeneArray, SearchSpace

MIN_SAMPLES = 16
NUM_FOLDS = 5
WEIGHT_DECAY = 0.3
"""Of 0.03 to 3 the best for 200 subnets, and close to the best for 64."""


@dataclass(frozen=True)
class QualityPredictor:
    """Predicts validation losses of subnets from their genes."""

    space: SearchSpace
    mean_loss: float
    ensemble: MlpEnsemble
    card: QualityCard

    @classmethod
    def fit(cls, space: SearchSpace, genes: GeneArray, losses: npt.ArrayLike) -> "QualityPredictor":
        """Fit the ensemble; the same data give the same predictor."""
        loss = np.asarray(losses, dtype=np.float64)
        if len(loss) < MIN_SAMPLES:
            raise PredictorError(
                f"{len(loss)} losses are too few for a quality predictor, at least {MIN_SAMPLES} "
                "are needed; raise search.quality_samples, or write "
                'quality = "evaluate" under [search]'
            )
        encoded = genes / space.gene_maxima
        # the card judges ensembles of the folds; the one that is kept is fitted to all rows
        card = _cross_validate(encoded, loss)
        # the mean is of the rest too: with the held-out losses in it the error would be too small
        mean_loss, ensemble = _fit(encoded, loss)
        return cls(space=space, mean_loss=mean_loss, ensemble=ensemble, card=card)

    def predict(self, genes: GeneArray) -> FloatArray:
        """Losses in nats a target of shape (N,) from canonical gene rows of shape (N, G)."""
        # [0]: how far the members disagree, [1], is not used in a search
        return self.mean_loss + self.ensemble.predict(genes / self.space.gene_maxima)


def _cross_validate(encoded: FloatArray, loss: FloatArray) -> QualityCard:
    """Predict each row by an ensemble that was fitted without it, and compare."""
    from scipy.stats import kendalltau  # here: half a second, which only a fit waits for

    predicted = np.empty(len(loss))
    for held_out in folds(len(loss), NUM_FOLDS):
        rest = np.setdiff1d(np.arange(len(loss)), held_out)
        mean_loss, ensemble = _fit(encoded[rest], loss[rest])
        predicted[held_out] = mean_loss + ensemble.predict(encoded[held_out])
    # NaN where all losses are equal, so that there is no order to find
    tau = float(kendalltau(predicted, loss).statistic)
    return QualityCard(
        num_samples=len(loss),
        kendall_tau=tau if np.isfinite(tau) else 0.0,
        error=float(np.abs(predicted - loss).mean()),
    )


def _fit(encoded: FloatArray, loss: FloatArray) -> tuple[float, MlpEnsemble]:
    # taken off, since weight decay pulls what the ensemble predicts towards zero
    mean_loss = float(loss.mean())
    return mean_loss, fit_mlp(encoded, loss - mean_loss, weight_decay=WEIGHT_DECAY)
