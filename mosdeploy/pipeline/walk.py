"""The verb `walk`: from a run file to a deployed bundle and its report."""

import dataclasses
from collections.abc import Sequence

from ..errors import ConfigError, InfeasibleError
from ..records import Deployment, SearchResult
from ..run_folder.catalog import Catalog
from ..run_folder.context import Context
from ..run_folder.devices import check_named, check_real
from ..run_folder.options import (
    DeployOptions,
    EvaluateOptions,
    ExportOptions,
    FinetuneOptions,
    LimitOptions,
    ProfileOptions,
    SearchOptions,
    WalkOptions,
)
from ..run_folder.summaries import WalkSummary
from ..run_folder.trained_run import trained_run
from ..training.launch import Launch
from .deploy import deploy, fallback_candidates
from .evaluate import evaluate
from .export import export
from .finetune import finetune
from .profile import profile
from .report import report
from .search import search
from .train import train

MAX_DEPLOYMENTS = 3
"""How many candidates a walk deploys, one after another, until one keeps the limit."""


def walk(context: Context, options: WalkOptions | None = None) -> WalkSummary:
    """Run every verb from `profile` to `report`; a second call goes on where one was stopped."""
    options = options or WalkOptions()
    device = context.run.profiled_device_name(options.device)
    limits = options.limits(context.config.search)
    _check_ends(context, device)
    words = ("mosdeploy walk", *limits.options(context.config.search.count))
    command = " ".join(words) + context.run.device_option(device)
    catalog = Catalog(context)
    with catalog.search.announced(command, {}):
        profile(context, ProfileOptions(device=device))
        # one that was given a time, which the run file does not say, stays
        if any(x.state().state != "ok" for x in (catalog.supernet, catalog.teacher)):
            train(context)
        given = {x.name: getattr(options, x.name) for x in dataclasses.fields(LimitOptions)}
        result = search(context, SearchOptions(device=device, **given))
    finetune(context)
    return deliver(context, result)


def deliver(
    context: Context, result: SearchResult, rivals: Sequence[str] = (), *, strict: bool = True
) -> WalkSummary:
    """Score a winner that was trained on, export and deploy it, and write the report."""
    from ..export.bundle import read_manifest

    names = ("winner", *rivals)
    has_test = bool(trained_run(context.run).data.test)
    scores = evaluate(context, EvaluateOptions(names)) if has_test else None
    deployment = _deploy(context, result.device, strict=strict)
    bundle = context.files.bundles_dir / deployment.bundle
    delivered = read_manifest(bundle)
    if has_test and delivered.arch != result.winner.arch:
        scores = evaluate(context, EvaluateOptions((*names, delivered.arch.key)))
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
            return deploy(context, DeployOptions(device=device, strict=strict))
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


def _check_ends(context: Context, device: str) -> None:
    """Refuse, before hours of training, a run that cannot end with a bundle."""
    if context.config.supernet_from is not None:
        raise ConfigError(
            "a task of another supernet is not walked: run `mosdeploy train`, `mosdeploy search`, "
            "`mosdeploy finetune`, `mosdeploy evaluate`, `mosdeploy export`, `mosdeploy deploy`"
        )
    if Launch.read().size > 1:
        raise ConfigError(
            "a walk is for one process: start `mosdeploy train` with torchrun, and then "
            "`mosdeploy walk` alone"
        )
    check_named(context, device)
    check_real(context, device)
    config = context.config
    data = context.family.load_data(config, context.files.root)
    # a family whose networks answer nothing says so here
    context.family.bundle_settings(config, config.workload, data)
