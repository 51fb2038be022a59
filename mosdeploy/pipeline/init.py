"""The verb `init`: write a commented run file, from a recipe or for the user's data."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import RUN_CONFIGS, RunConfig, parse_run_config
from ..config.device import load_profile
from ..config.lookup import expand_home
from ..errors import ConfigError
from ..families import load_family
from ..family import DataRequest, RunPlan, Setting
from ..printable import likely, plain
from ..recipes import list_recipes, read_recipe
from ..run_folder.budget import LEAST_STEPS, MARGIN, TIMING_SHARE, step_times
from ..run_folder.context import SILENT, Context, Progress
from ..run_folder.run import Run
from ..run_folder.summaries import NewRun, RunFile, WalkEstimate
from ..storage import atomic_write
from ..workspace import Workspace
from .estimate import estimate_walk
from .settings import with_settings

SAME_TIME = Setting("same_time", True, "a winner whose steps take less time has more of them")
NUM_TRIED = 3
"""Steps of either kind that are timed for an estimate alone."""


@dataclass(frozen=True)
class InitOptions:
    """What a run file is written for."""

    train: tuple[str, ...]
    valid: str | None = None
    test: str | None = None
    family: str | None = None
    checkpoint: str | None = None
    size: str | None = None
    time_s: float | None = None
    languages: tuple[str, str] | None = None
    text: str | None = None
    label: str | None = None
    num_winners: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = self.languages
        is_pair = isinstance(given, (tuple, list)) and len(given) == 2
        if given is not None and not is_pair:
            raise ConfigError(f"languages are source and target, ('en', 'de'), not {given!r}")
        if given is not None and given[0] == given[1]:
            raise ConfigError(
                f"source and target are both '{given[0]}'; a translation needs two languages, "
                "as in en-de"
            )


def init(
    root: Path,
    recipe: str = "tiny",
    device: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> RunFile:
    """Write a commented `mosdeploy.toml` from a shipped recipe."""
    if recipe not in list_recipes():
        raise ConfigError(
            f"unknown recipe '{recipe}'; {likely(recipe, list_recipes())}known: "
            f"{', '.join(list_recipes())}"
        )
    path = _new_path(root)
    text = read_recipe(recipe)
    if device is not None:
        load_profile(device, root)
        text = text.replace('# device = "rpi"', f'device = "{device}"', 1)
    if settings:
        text = with_settings(text, settings)
        _parse(text, root)
    atomic_write(path, text)
    return RunFile(path=str(path), recipe=recipe)


def init_from_data(
    root: Path, options: InitOptions, device: str | None = None, progress: Progress = SILENT
) -> NewRun:
    """Read the user's data, write a `mosdeploy.toml` that fits it, and tell what the walk takes."""
    path = _new_path(root)
    profile = load_profile(device or "local", root)
    # of a million pairs this takes a minute
    progress.say(f"reading {' and '.join(options.train)}, and trying a tokenizer on them")
    plan = _plan(root, options)
    if options.time_s is not None:
        plan = plan.with_setting("finetune", SAME_TIME)
    context = _context(plan, options, root, progress)
    if options.time_s is None:
        times = step_times(context, num_timed=NUM_TRIED)
    else:
        times = step_times(context, max_time_s=TIMING_SHARE * options.time_s)
    estimate = estimate_walk(context, times, profile, plan.sizes)
    if options.time_s is not None:
        plan = _fitted(plan, options.time_s, estimate)
        context = _context(plan, options, root, progress)
        estimate = estimate_walk(context, times, profile, plan.sizes)
    text = plan.text
    if device is not None:
        text = text.replace("\n\n", f'\n\ndevice = "{device}"\n\n', 1)
    text = with_settings(text, options.settings)
    _parse(text, root)
    atomic_write(path, text)
    spec = context.spec
    ends = [f"{spec.num_parameters(x):,}" for x in (spec.space.smallest, spec.space.largest)]
    facts = {**plan.facts, "subnets": f"{' to '.join(ends)} parameters"}
    return NewRun(path=str(path), found=facts, estimate=estimate)


def _context(plan: RunPlan, options: InitOptions, root: Path, progress: Progress) -> Context:
    """What a verb would be given once the plan is written."""
    text = with_settings(plan.text, options.settings)
    return Context(Run(Workspace(root), _parse(text, root)), progress)


def _new_path(root: Path) -> Path:
    path = Workspace(root).config_path
    there = next(x for x in (root.absolute(), *root.absolute().parents) if x.exists())
    if not there.is_dir():
        raise ConfigError(f"{there} is a file, not a folder; choose a folder with --dir")
    if path.exists():
        raise ConfigError(f"{path} exists already; edit it, or choose another folder with --dir")
    return path


def _plan(root: Path, options: InitOptions) -> RunPlan:
    from ..config.sections import TrainingConfig
    from ..training.device import DeviceContext

    if options.num_winners < 1:
        raise ConfigError(f"num_winners is {options.num_winners}; at least 1 is needed")
    name = options.family or ("translation" if options.checkpoint is None else "encoder")
    if name not in RUN_CONFIGS:
        raise ConfigError(f"unknown family '{name}'; known: {', '.join(sorted(RUN_CONFIGS))}")
    if name == "translation" and options.checkpoint is not None:
        raise ConfigError("a translation starts from no checkpoint; leave --checkpoint out")
    plan_run = load_family(name).plan_run
    if plan_run is None:
        raise ConfigError(f"run files of the family '{name}' are written by hand; see --recipe")
    request = DataRequest(
        files=tuple(_named_from(root, file) for file in options.train),
        root=root,
        valid=options.valid and _named_from(root, options.valid),
        test=options.test and _named_from(root, options.test),
        checkpoint=options.checkpoint and _named_from(root, options.checkpoint),
        size=options.size,
        languages=options.languages,
        text=options.text,
        label=options.label,
        num_winners=options.num_winners,
        has_gpu=DeviceContext.of(TrainingConfig()).device.type == "cuda",
    )
    return plan_run(request)


def _named_from(root: Path, name: str) -> str:
    """A file as a run file names it: from its folder if it lies there, else in full."""
    path = expand_home(name).absolute()
    if ":" in name and not path.exists():  # package:NAME/PATH, datasets:..., hub:ID
        return name
    folder = root.absolute()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _parse(text: str, root: Path) -> RunConfig:
    return parse_run_config(tomllib.loads(text), "the run file", root)


def _fitted(plan: RunPlan, time_s: float, estimate: WalkEstimate) -> RunPlan:
    """The plan with as many steps as the time is enough for."""
    times = estimate.times
    least_s = estimate.fixed_s + LEAST_STEPS * (times.supernet_s + times.winner_s)
    if time_s < least_s:
        raise ConfigError(
            f"{plain(time_s)} s are not enough: a step of the supernet takes "
            f"{times.supernet_s:.2f} s here, one of a subnet alone {times.winner_s:.2f} s, and "
            f"validations and trials {estimate.fixed_s:.0f} s in all; give --time "
            f"{math.ceil(MARGIN * least_s)}s or more, fewer data, or a smaller network: --size or, "
            "of an encoder, its checkpoint"
        )
    why = f"what {plain(time_s)} s of training are enough for on this machine"
    factor = (time_s - estimate.fixed_s) / (estimate.training_s - estimate.fixed_s)
    return plan.scaled(factor, why)
