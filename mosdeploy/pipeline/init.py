"""The verb `init`: write a commented run file, from a recipe or for the user's data."""

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import tomlkit

from ..config import RUN_CONFIGS, RunConfig, parse_run_config
from ..config.device import DeviceProfile, load_profile
from ..config.lookup import expand_home
from ..config.units import parse_budget_s
from ..errors import ConfigError
from ..families import load_family
from ..family import DataRequest, DataSizes, RunPlan, Setting, two_digits
from ..printable import likely, plain
from ..recipes import list_recipes, read_recipe
from ..run_folder.budget import configured_budget, with_budget
from ..run_folder.context import SILENT, Context, Progress
from ..run_folder.options import InitOptions
from ..run_folder.run import Run
from ..run_folder.summaries import NewRun, RunFile, StepTimes, WalkEstimate
from ..storage import atomic_write
from ..workspace import Workspace
from .finetune import CURVE_POINTS
from .training.timing import LEAST_STEPS, MARGIN, TIMING_SHARE, time_steps

START_S = 1.5
"""A process that loads the runtime and a model, on a slow core."""

FORWARD_SHARE = 1 / 3
"""Of a step, what a forward pass alone takes; the backward pass does twice the work."""

WRITING_S = 5.0
"""Loading what was trained and writing a bundle, or a report."""


@dataclass(frozen=True)
class WalkCosts:
    """Expected seconds of what the verbs of a walk do; from `search` on of one winner."""

    context: Context
    times: StepTimes
    device: DeviceProfile
    data: DataSizes

    @cached_property
    def config(self) -> RunConfig:
        """The run file with the steps that its budget gives."""
        run = self.context.run
        return with_budget(run, configured_budget(run.config.training)).config

    @property
    def num_winners(self) -> int:
        return self.context.config.training.num_winners

    @property
    def has_teacher(self) -> bool:
        return self.context.family.open_teacher is not None

    @property
    def num_trainings(self) -> int:
        """Of a winner: both starts where there is a teacher."""
        return 2 if self.has_teacher else 1

    @cached_property
    def sizes(self) -> DataSizes:
        """Examples, as far as they are trained and validated on."""
        training = self.config.training
        train = min(self.data.train, training.train_examples or self.data.train)
        valid = min(self.data.valid, training.valid_examples or self.data.valid)
        return DataSizes(train, valid, self.data.test)

    @cached_property
    def larger(self) -> float:
        """What the largest architecture, also a teacher's, computes to the one that was timed."""
        spec = self.context.spec
        return spec.num_macs(spec.space.largest) / spec.num_macs(spec.reference_arch())

    @cached_property
    def batch_examples(self) -> int:
        """Examples that an architecture reads in a step."""
        batch = len(self.context.family.made_up_dataset(self.config))
        return batch * self.config.training.grad_accum_steps

    @property
    def example_s(self) -> float:
        """A forward pass of one example."""
        return FORWARD_SHARE * self.times.winner_s / self.batch_examples

    @property
    def answer_s(self) -> float:
        return self.config.workload.answer_passes * self.example_s

    # -- training

    @property
    def steps_s(self) -> float:
        """All steps of all trainings."""
        return self.teacher_s + self.supernet_s + self.num_winners * self.winner_s

    @property
    def teacher_s(self) -> float:
        return self.config.teacher_steps * self.times.winner_s * self.larger

    @property
    def supernet_s(self) -> float:
        return self.config.training.steps * self.times.supernet_s

    @property
    def winner_s(self) -> float:
        return self.num_trainings * self.config.finetune.steps * self.times.winner_s

    @property
    def num_read(self) -> int:
        """Examples that the longest of the trainings reads."""
        training = self.config.training
        num_archs = {"both": 2, "none": 0}.get(training.sandwich, 1) + training.num_random_archs
        supernet = training.steps * (num_archs if training.batch_sharing == "none" else 1)
        steps = max(self.config.teacher_steps, supernet, self.config.finetune.steps)
        return steps * self.batch_examples

    @property
    def label_s(self) -> float:
        """A teacher's outputs for one example."""
        return self.larger * self.example_s if self.has_teacher else 0.0

    @property
    def labels_s(self) -> float:
        return self.label_s * (self.sizes.train + self.sizes.valid)

    @property
    def supernet_validations_s(self) -> float:
        """Of the largest and the smallest subnet."""
        training = self.config.training
        validations = 1 + training.steps // training.validate_every
        return validations * self.sizes.valid * (self.larger + 1) * self.example_s

    @property
    def winner_validations_s(self) -> float:
        """Between two validations, a winner reads at least twice as many examples."""
        num_read = self.config.finetune.steps * self.batch_examples
        most = max(1, num_read // max(1, 2 * self.sizes.valid))
        validations = self.num_trainings * min(CURVE_POINTS, most)
        return validations * self.sizes.valid * self.example_s

    @property
    def validations_s(self) -> float:
        return self.supernet_validations_s + self.num_winners * self.winner_validations_s

    # -- everything else

    @property
    def search_s(self) -> float:
        search = self.config.search
        judged = search.population + 2 * search.iterations * search.num_mutants
        return judged * search.eval_examples * self.example_s + self.measuring_s(search.finalists)

    @property
    def evaluate_s(self) -> float:
        """Largest, smallest and winner as inherited, the winner and the teacher as trained."""
        networks = (1 + self.has_teacher) * self.larger + 3
        return networks * self.sizes.test * self.answer_s

    @property
    def export_s(self) -> float:
        """Both torch and the bundle answer what is checked."""
        export = self.config.export
        is_exact = self.config.workload.is_exact
        checked = export.parity_examples if is_exact else export.score_examples
        return WRITING_S + 2 * checked * self.answer_s

    def measuring_s(self, num_subnets: int) -> float:
        """Every subnet and, between them, the reference, in all rounds; each as long as repeats go
        on at most, unless the least number of them takes longer: nobody knows yet what a run takes.
        """
        protocol = self.device.measure
        num_references = 2 + num_subnets // protocol.reference_every
        return protocol.rounds * (num_subnets + num_references) * (START_S + protocol.max_time_s)

    def estimate(self) -> WalkEstimate:
        """Add up what each verb takes."""
        of_each = {
            "search": self.search_s,
            "finetune": self.winner_s + self.winner_validations_s,
            "evaluate": self.evaluate_s,
            "export": self.export_s,
            "deploy": WRITING_S + self.measuring_s(1),
            "report": WRITING_S,
        }
        train_s = self.teacher_s + self.labels_s + self.supernet_s + self.supernet_validations_s
        return WalkEstimate(
            verbs={
                "train": train_s,
                "profile": self.measuring_s(self.config.profile.budget),
                **{verb: self.num_winners * seconds for verb, seconds in of_each.items()},
            },
            steps={
                "teacher": self.config.teacher_steps,
                "supernet": self.config.training.steps,
                "winner": self.config.finetune.steps,
            },
            times=self.times,
            device=self.device.name,
            num_winners=self.num_winners,
        )


SAME_TIME = Setting("same_time", True, "a winner whose steps take less time has more of them")
NUM_TRIED = 3
"""Steps of either kind that are timed for an estimate alone."""
VALIDATION_SHARE = 0.1
"""What validations may take of the time for all training."""


NO_DATA = InitOptions()


def init(
    root: Path,
    recipe: str | None = None,
    device: str | None = None,
    options: InitOptions = NO_DATA,
    progress: Progress = SILENT,
) -> RunFile | NewRun:
    """Write a commented `mosdeploy.toml`: for the user's data, else from a shipped recipe."""
    if options.files:
        if recipe is not None:
            raise ConfigError(
                f"recipe {recipe!r} and train: the run file of a template or of your data; give one"
            )
        return init_from_data(root, options, device, progress)
    if options.about_data:
        raise ConfigError(f"{options.about_data[0]} is about your data: give train too")
    recipe = recipe or "tiny"
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
    text = with_settings(text, options.settings)
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
    progress.say(f"reading {' and '.join(options.files)}, and trying a tokenizer on them")
    plan = _plan(root, options)
    time_s = None if options.time is None else parse_budget_s(options.time)
    if time_s is not None:
        plan = plan.with_setting("finetune", SAME_TIME)

    def context(plan: RunPlan) -> Context:
        """What a verb is given once the plan is written."""
        text = with_settings(plan.text, options.settings)
        return Context(Run(Workspace(root), _parse(text, root)), progress)

    if time_s is None:
        times = time_steps(context(plan), num_timed=NUM_TRIED)
    else:
        times = time_steps(context(plan), max_time_s=TIMING_SHARE * time_s)
    costs = WalkCosts(context(plan), times, profile, plan.sizes)
    if time_s is not None and costs.validations_s > VALIDATION_SHARE * time_s:
        plan = _with_fewer_validated(plan, costs, time_s)
        costs = replace(costs, context=context(plan))
    if time_s is not None:
        plan = _fitted(plan, costs, time_s)
        costs = replace(costs, context=context(plan))
    text = plan.text
    if device is not None:
        text = with_settings(text, {"device": device})
    text = with_settings(text, options.settings)
    _parse(text, root)
    atomic_write(path, text)
    spec = costs.context.spec
    ends = [f"{spec.num_parameters(x):,}" for x in (spec.space.smallest, spec.space.largest)]
    facts = {**plan.facts, "subnets": f"{' to '.join(ends)} parameters"}
    if costs.sizes != costs.data:
        facts["drawn"] = (
            f"{costs.sizes.train:,} of {costs.data.train:,} examples to train on and "
            f"{costs.sizes.valid:,} of {costs.data.valid:,} to validate on, for the time"
        )
    return NewRun(path=str(path), found=facts, estimate=costs.estimate())


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

    name = options.family or ("translation" if options.checkpoint is None else "encoder")
    if name not in RUN_CONFIGS:
        raise ConfigError(f"unknown family '{name}'; known: {', '.join(sorted(RUN_CONFIGS))}")
    if name == "translation" and options.checkpoint is not None:
        raise ConfigError("a translation starts from no checkpoint; leave --checkpoint out")
    plan_run = load_family(name).plan_run
    if plan_run is None:
        raise ConfigError(f"run files of the family '{name}' are written by hand; see --recipe")
    request = DataRequest(
        files=tuple(_named_from(root, file) for file in options.files),
        root=root,
        valid=_named_from(root, options.valid) if options.valid else None,
        test=_named_from(root, options.test) if options.test else None,
        checkpoint=_named_from(root, options.checkpoint) if options.checkpoint else None,
        size=options.size,
        languages=options.languages,
        text=options.text,
        label=options.label,
        num_winners=options.num_winners,
        has_gpu=DeviceContext.of(TrainingConfig()).device.type == "cuda",
    )
    return plan_run(request)


def _named_from(root: Path, given: str | Path) -> str:
    """A file as a run file names it: from its folder if it lies there, else in full."""
    name = str(given)
    path = expand_home(name).absolute()
    if ":" in name and not path.exists():  # package:NAME/PATH, datasets:..., hub:ID
        return name
    folder = root.absolute()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _parse(text: str, root: Path) -> RunConfig:
    return parse_run_config(tomllib.loads(text), "the run file", root)


# -- a plan for a time


def _with_fewer_validated(plan: RunPlan, costs: WalkCosts, time_s: float) -> RunPlan:
    """Return the plan with so few validation examples that the time is enough for them."""
    share = VALIDATION_SHARE * time_s / costs.validations_s
    count = max(1, math.floor(costs.sizes.valid * share))
    why = f"drawn from {costs.sizes.valid:,}, to validate in a tenth of the time"
    return plan.with_setting("training", Setting("valid_examples", count, why))


def _fitted(plan: RunPlan, costs: WalkCosts, time_s: float) -> RunPlan:
    """Return the plan with as many steps as the time is enough for, and no more training examples
    than these read where a teacher labels each.
    """
    sizes = costs.sizes
    left_s = time_s - costs.validations_s - costs.label_s * sizes.valid
    # of the planned steps; each example is labelled when it is read for the first time
    factor = left_s / (costs.steps_s + costs.label_s * costs.num_read)
    num_read = math.ceil(factor * costs.num_read)
    if not costs.label_s or num_read >= sizes.train:
        factor = (left_s - costs.label_s * sizes.train) / costs.steps_s
    elif num_read > 0:
        why = f"drawn from {sizes.train:,}: as many as the steps read"
        plan = plan.with_setting("training", Setting("train_examples", two_digits(num_read), why))
    times = costs.times
    least_s = LEAST_STEPS * (times.supernet_s + times.winner_s)
    if factor * costs.steps_s < least_s:
        needed_s = least_s * (1 + costs.label_s * costs.num_read / costs.steps_s)
        needed_s = MARGIN * needed_s / (1 - VALIDATION_SHARE)
        raise ConfigError(
            f"{plain(time_s)} s are not enough: a step of the supernet takes "
            f"{times.supernet_s:.2f} s here, one of a subnet alone {times.winner_s:.2f} s, and "
            f"{LEAST_STEPS} of each are the least; give --time {math.ceil(needed_s)}s or more, or "
            "a smaller network: --size or, of an encoder, its checkpoint"
        )
    return plan.scaled(factor, f"what {plain(time_s)} s of training are enough for on this machine")


# -- keys that are given other values before a run file is written


def with_settings(text: str, settings: Mapping[str, Any]) -> str:
    """Return the text of a run file in which some keys, by `section.key`, have other values."""
    document = tomlkit.parse(text)
    for name, value in settings.items():
        *sections, key = name.split(".")
        try:
            place: Any = document
            for section in sections:
                place = place.setdefault(section, tomlkit.table())
            plain_value = json.loads(json.dumps(value, default=_plain, allow_nan=False))
            place[key] = tomlkit.item(plain_value).comment("given to init")
        except (AttributeError, TypeError, ValueError) as error:  # no JSON; no TOML
            raise ConfigError(
                f"'{name}' cannot be set to {value!r} here: a setting is a string, a number, a "
                "boolean or a list of them, by its section.key; change all else in mosdeploy.toml"
            ) from error
    return tomlkit.dumps(document)


def _plain(value: Any) -> Any:
    """A path, a number or an array of numpy as TOML holds it."""
    return str(value) if isinstance(value, PurePath) else value.tolist()
