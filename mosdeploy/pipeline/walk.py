"""The verb `walk`: from a run file to a bundle that keeps its limits on the device, and its report.

In: a run folder, a device and limits. Out: a `WalkSummary`. Each step is a verb, which resumes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import ConfigError, StaleInputError
from ..records import Limits, SearchResult
from .context import Context
from .deploy import DeployOptions, deploy
from .evaluate import evaluate
from .export import export
from .finetune import finetune
from .limits import NO_LIMITS, TrainOptions, check_trained_for, search_limits
from .profile import ProfileOptions, profile
from .report import report
from .search import SearchOptions, check_real, search
from .summaries import WalkSummary
from .train import train
from .trained_run import trained_run


@dataclass(frozen=True)
class WalkOptions:
    """What a walk leads to.

    Attributes
    ----------
    device
        None takes the config's, else this machine.
    limits
        What they leave open comes from [search].
    """

    device: str | None = None
    limits: Limits = NO_LIMITS


def walk(context: Context, options: WalkOptions | None = None) -> WalkSummary:
    """Go the whole way from the run file to the report; a second call goes on where the first was
    stopped.

    Subnets are measured first, as that needs no weights. The supernet is then trained within the
    limits, unless one that may be searched under them is there, or several winners are to share it.

    Raises
    ------
    ConfigError
        If there is no limit.
    PredictorError
        If the device is emulated.
    InfeasibleError
        If nothing keeps the limits, as predicted, measured or deployed.
    MosdeployError
        Whatever a verb raises on the way.

    Examples
    --------
    >>> options = WalkOptions("rpi", Limits(max_latency_ms=20.0))
    >>> walk(Context(open_run(Path("my-run"))), options).bundle  # doctest: +SKIP
    """
    options = options or WalkOptions()
    device = context.run.device_name(options.device)
    limits = search_limits(context, options.limits)
    check_real(context, device)
    profile(context, ProfileOptions(device=device))
    if not _is_trained_for(context, limits, device):
        shared = context.config.training.num_winners > 1
        train(context, TrainOptions(device, NO_LIMITS if shared else limits))
    result = search(context, SearchOptions(device=device, limits=limits))
    finetune(context)
    return deliver(context, result)


def deliver(
    context: Context, result: SearchResult, rivals: Sequence[str] = (), *, strict: bool = True
) -> WalkSummary:
    """Score a winner that was trained on, export and deploy it, and write the report.

    Parameters
    ----------
    rivals
        What else is scored, as `pick` takes it.
    strict
        Refuse a bundle that breaks the limit.
    """
    has_test = bool(trained_run(context.run).data.test)
    scores = evaluate(context, ("winner", *rivals)) if has_test else None
    export(context)
    # of the newest bundle; if that breaks the limit, other finalists are tried
    deployment = deploy(context, DeployOptions(device=result.device, strict=strict))
    return WalkSummary(
        search=result,
        scores=scores,
        deployment=deployment,
        bundle=str(context.files.bundles_dir / deployment.bundle),
        page=str(report(context).page),
    )


def _is_trained_for(context: Context, limits: Limits, device: str) -> bool:
    """Whether a supernet of these data and settings is there that may be searched so."""
    try:
        state = trained_run(context.run)
        check_trained_for(state.card.limits, limits, device)
        return bool(state.data.train)  # it is read, and so compared with the supernet's
    except (ConfigError, StaleInputError):
        return False
