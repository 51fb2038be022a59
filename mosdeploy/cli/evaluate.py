"""The verb `evaluate`."""

from ..printable import score
from ..run_folder.options import EvaluateOptions
from .options import Common
from .printing import table


def evaluate(common: Common, options: EvaluateOptions) -> None:
    """Score subnets on the test examples.

    Inherited ones, those that were trained alone, and the teacher. The same command resumes.
    """
    from ..pipeline.evaluate import evaluate as score_subnets
    from ..run_folder.status import next_command

    context = common.context()
    scores = score_subnets(context, options)
    metrics = list(dict.fromkeys(name for x in scores.subnets.values() for name in x.metrics))
    rows = [
        (
            name,
            *(score(x.metrics[metric]) for metric in metrics),
            f"{x.loss:.3f}",
            f"{x.num_parameters:,}",
        )
        for name, x in scores.subnets.items()
    ]
    header = ("subnet", *metrics, "validation loss", "parameters")
    common.show(scores, table(header, rows), next_command(context))
