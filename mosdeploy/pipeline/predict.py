"""The verb `predict`: run a bundle on this machine."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import BundleError
from ..families import load_family
from ..workspace import Workspace
from .bundles import require_bundle
from .summaries import Prediction, Predictions


def predict(
    root: Path, lines: Sequence[str], bundle: Path | None = None, threads: int | None = None
) -> Predictions:
    """Answer lines of text with a bundle.

    Parameters
    ----------
    root
        A run folder; with `bundle`, any folder.
    bundle
        None takes the newest of the run folder.

    Raises
    ------
    StaleInputError
        If there is no bundle.
    BundleError
        If it is damaged, or cannot be run here.
    """
    from ..runtime import BundleError as RuntimeBundleError
    from ..runtime.manifest import read_manifest

    folder = bundle or require_bundle(Workspace(root))
    try:
        family = load_family(read_manifest(folder).family)
        outputs = family.open_bundle(folder, threads).predict(lines)
    except RuntimeBundleError as error:
        raise BundleError(str(error)) from error
    pairs = zip(lines, outputs, strict=True)
    return Predictions(
        bundle=str(folder),
        predictions=tuple(Prediction(input=line, output=output) for line, output in pairs),
    )
