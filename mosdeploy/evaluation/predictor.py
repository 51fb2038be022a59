"""The quality predictor: fitted to the losses of some subnets, it predicts those of thousands.

In: gene rows and validation losses. Out: predicted losses of a population, and a card that says how
well they rank subnets that the fit had not seen. This file evaluates nothing and searches nothing.

It is the MLP ensemble of regression/mlp.py over the per-layer encoding. On 348 random subnets of a
supernet of up to 3 + 3 layers, fitted to 128 of them, it ranked the others with a Kendall tau of
0.87; ridge regression on the choices of each gene came to 0.75, with the ensemble on its residuals
to 0.85, and kernel ridge regression to 0.82.

Shapes: N architectures, G genes.
"""

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
    """Predicts validation losses of subnets from their genes.

    Attributes
    ----------
    space
        Of the architectures.
    mean_loss
        Mean of the losses it was fitted to, in nats a target; the ensemble predicts the difference
        from it.
    ensemble
        Over the per-layer encoding.
    card
        How well it predicts subnets that it was not fitted to.

    Examples
    --------
    >>> from mosdeploy.config import load_recipe
    >>> space = load_recipe("tiny").space
    >>> rng = np.random.default_rng(0)
    >>> genes = space.genes([space.sample(rng) for _ in range(32)])
    >>> predictor = QualityPredictor.fit(space, genes, losses=-genes.sum(axis=1) / 1000)
    >>> predictor.predict(genes[:3]).shape
    (3,)
    """

    space: SearchSpace
    mean_loss: float
    ensemble: MlpEnsemble
    card: QualityCard

    @classmethod
    def fit(cls, space: SearchSpace, genes: GeneArray, losses: npt.ArrayLike) -> "QualityPredictor":
        """Fit the ensemble; the same data give the same predictor.

        Parameters
        ----------
        space
            Of the architectures.
        genes
            Canonical gene rows (N, G).
        losses
            Shape (N,), finite, in nats a target.

        Raises
        ------
        PredictorError
            With fewer than `MIN_SAMPLES` rows.
        """
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
