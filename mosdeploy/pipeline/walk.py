"""The verb `walk`: from a run file to a bundle that keeps its limits on the device, and its
report.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from ..config.units import told_limit
from ..errors import ConfigError, InfeasibleError, StaleInputError
from ..printable import quantity
from ..records import NO_LIMITS, BegunSearch, Deployment, Limits, SearchResult
from ..run_folder.begun_search import noted
from ..run_folder.context import Context
from ..run_folder.devices import check_named, check_real
from ..run_folder.options import TrainOptions, with_defaults
from ..run_folder.summaries import WalkSummary
from ..run_folder.teacher import is_taught
from ..run_folder.trained_run import trained_run
from ..training.launch import Launch
from .deploy import DeployOptions, deploy, fallback_candidates
from .evaluate import evaluate
from .export import export
from .export_job import ExportOptions
from .finetune import FinetuneOptions, finetune
from .limits import check_trained_for, search_limits, tell_lowered, within_trained
from .profile import ProfileOptions, profile
from .replacing import last_begun
from .report import report
from .search import SearchOptions, search
from .train import train

MAX_DEPLOYMENTS = 3
"""How many candidates a walk deploys, one after another, until one keeps the limit."""


@dataclass(frozen=True)
class WalkOptions:
    """What a walk leads to."""

    device: str | None = None
    limits: Limits = NO_LIMITS


def walk(context: Context, options: WalkOptions | None = None) -> WalkSummary:
    """Go the whole way from the run file to the report; a second call goes on where the first was
    stopped.
    """
    options = options or WalkOptions()
    device = context.run.profiled_device_name(options.device)
    limits = _limits(context, options.limits, device)
    trained_within = _training_limits(context, limits)
    _check_ends(context, device)
    statistic = context.config.search.statistic
    begun = BegunSearch(device=device, limits=limits, statistic=statistic, is_walk=True)
    with noted(context.files.begun_search_path, begun):
        # more measurements would make another training of one that is begun within a latency
        if not _is_begun(context, device):
            profile(context, ProfileOptions(device=device))
        if not _is_trained_for(context, limits, device):
            train(context, TrainOptions(device, trained_within))
        result = search(context, SearchOptions(device=device, limits=limits))
    finetune(context)
    return deliver(context, result)


def deliver(
    context: Context, result: SearchResult, rivals: Sequence[str] = (), *, strict: bool = True
) -> WalkSummary:
    """Score a winner that was trained on, export and deploy it, and write the report."""
    from ..export.bundle import read_manifest

    names = ("winner", *rivals)
    has_test = bool(trained_run(context.run).data.test)
    scores = evaluate(context, names) if has_test else None
    deployment = _deploy(context, result.device, strict=strict)
    bundle = context.files.bundles_dir / deployment.bundle
    delivered = read_manifest(bundle)
    if has_test and delivered.arch != result.winner.arch:
        scores = evaluate(context, (*names, delivered.arch.key))
    return WalkSummary(
        search=result,
        scores=scores,
        deployment=deployment,
        arch=delivered.arch,
        weights=delivered.weights,
        bundle=str(bundle),
        page=str(report(context).page),
    )


def _deploy(context: Context, device: str, *, strict: bool) -> Deployment:
    """Export and deploy the winner or, while one misses its limit, the next finalist."""
    pick = "winner"
    tried = set[str]()
    while True:
        manifest = export(context, ExportOptions(pick, device=device)).manifest
        tried.add(manifest.arch.key)
        try:
            return deploy(context, DeployOptions(device, strict=strict))
        except InfeasibleError as error:
            others = fallback_candidates(context, manifest, error.fastest_latency_ms)
            measured = [x.arch.key for x in others if x.measured_ms is not None]
            left = [key for key in measured if key not in tried]
            if not left or len(tried) == MAX_DEPLOYMENTS:
                raise
            pick = left[0]
            context.progress.say(
                f"{manifest.name} misses its limit as deployed: finalist {pick[:8]} takes its place"
            )
        finetune(context, FinetuneOptions(pick))


def _limits(context: Context, asked: Limits, device: str) -> Limits:
    """Those asked for, else of [search], else of [training]; and those of a supernet that may then
    be searched.
    """
    config = context.config
    limits = with_defaults(with_defaults(asked, config.search), config.training)
    if limits == NO_LIMITS:
        limits = search_limits(context, asked)
        check_trained_for(context.run.supernet_card().limits, limits, device)
        return limits
    with contextlib.suppress(ConfigError, StaleInputError):
        # one that was trained for hours is not replaced for a limit that nobody named
        within = within_trained(context, limits, with_defaults(asked, config.training))
        check_trained_for(context.run.supernet_card().limits, within, device)
        tell_lowered(context, limits, within)
        return within
    return limits


def _training_limits(context: Context, limits: Limits) -> Limits:
    """What a training is asked for beside [training], whose own limits stand."""
    config = context.config
    for name, most in with_defaults(NO_LIMITS, config.training).model_dump().items():
        sought = getattr(limits, name)
        if most is not None and (sought is None or sought > most):
            raise ConfigError(
                f"[training] has {told_limit(name, most)}, and what is sought "
                f"{'has no such limit' if sought is None else f'may have {quantity(name, sought)}'}"
                ": what lies between would never be trained; change one of them"
            )
    has_own = with_defaults(NO_LIMITS, config.training) != NO_LIMITS
    return NO_LIMITS if has_own or config.training.num_winners > 1 else limits


def _check_ends(context: Context, device: str) -> None:
    """Refuse, before hours of training, what is known to end without a bundle."""
    if context.config.served_by is not None:
        raise ConfigError(
            "this is the folder of a task, whose subnet is trained already: run `mosdeploy "
            "evaluate`, `mosdeploy export`, `mosdeploy deploy`, `mosdeploy report`"
        )
    if Launch.read().size > 1:
        raise ConfigError(
            "a walk is for one process: start `mosdeploy train` with torchrun, with the limits and "
            "the device, and then `mosdeploy walk` alone"
        )
    check_named(context, device)
    check_real(context, device)
    config = context.config
    data = context.family.load_data(config, context.run.data_root)
    # a family whose networks answer nothing says so here
    context.family.bundle_settings(config, config.workload, data)


def _is_begun(context: Context, device: str) -> bool:
    """Whether a training within a latency on this device was stopped."""
    begun = last_begun(context.files)
    # those without a latency are of no device
    return begun is not None and begun.limits is not None and begun.limits.device == device


def _is_trained_for(context: Context, limits: Limits, device: str) -> bool:
    """Whether a supernet of these data and settings is there that may be searched so."""
    try:
        state = trained_run(context.run)
        check_trained_for(state.card.limits, limits, device)
        # it is read, and so compared with the supernet's
        return is_taught(context.run, state.data.sha256)
    except (ConfigError, StaleInputError):
        return False
