"""One supernet that serves many tasks: `finetune --task FILE`."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from ..config import RunConfig, parse_run_config
from ..errors import ConfigError
from ..record import read_toml
from ..records import NO_LIMITS, Candidate, ScoreTable, SearchResult, SupernetCard
from ..run_folder.context import Context
from ..run_folder.picking import Picked, pick
from ..run_folder.run import Run, open_run
from ..run_folder.summaries import TaskSummary
from ..run_folder.trained_run import TrainedRun, supernet_inputs, trained_run
from ..spaces.genes import ArchConfig
from ..storage import (
    atomic_write,
    disk_errors,
    make_folder,
    readable_record,
    sha256_file,
    write_record,
)
from ..workspace import Workspace
from .evaluate import evaluate
from .finetune import FinetuneOptions, finetune_together
from .search import cost_function
from .training.prepare import data_card

if TYPE_CHECKING:
    from ..data.batches import Batch

REPLACED = ("task", "training", "finetune", "export", "workload")
"""Sections of a task's file that take the place of the run file's."""

SHARED = ("family", "checkpoint", "space", "supernet")
"""What a task's file may say too, if it says what the run file says."""


def finetune_task(context: Context, path: Path, options: FinetuneOptions) -> TaskSummary:
    """Make or update the folder of a task, train a subnet there, and score it on its test
    examples.
    """
    from ..training.distributed import init_distributed

    task = _Task.read(context, path)
    wanted = replace(options, pick="winner")
    with init_distributed(task.config.training) as distributed:
        # what only the first rank does, once
        distributed.first("task", lambda: task.write(options.pick))
        own = open_task(context, task.root.name)
        card = finetune_together(own, wanted, distributed)
        scores = distributed.first("scores", lambda: _scores(own))
    found = ScoreTable.model_validate_json(scores) if scores else None
    return TaskSummary(root=str(task.root), subnet=card, scores=found)


def open_task(context: Context, name: str) -> Context:
    """The folder that `finetune_task` made of a file of this name."""
    root = context.files.task_root(name)
    known = sorted(path.parent.name for path in root.parent.glob("*/mosdeploy.toml"))
    if name not in known:
        raise ConfigError(
            f"there is no task '{name}' in {root.parent}; known: {', '.join(known) or 'none'}; "
            f"run `mosdeploy finetune --task FILE.toml` in {context.files.root}"
        )
    return replace(context, run=open_run(root))


def _scores(own: Context) -> str:
    """Scores on the test examples; nothing without any."""
    has_tests = bool(trained_run(own.run).data.test)
    return evaluate(own, ("winner",)).model_dump_json() if has_tests else ""


@dataclass(frozen=True)
class _Task:
    """A task, the run that serves it, and the folder and the run file that it gets."""

    context: Context
    trained: TrainedRun
    root: Path
    data: dict[str, Any]
    config: RunConfig

    @classmethod
    def read(cls, context: Context, path: Path) -> "_Task":
        """Read a task's file, and check it against the run file."""
        if context.family.serve_task is None:
            raise ConfigError(f"a supernet of '{context.family.name}' serves no other tasks")
        if context.config.served_by is not None:
            raise ConfigError(
                f"{context.files.root} is the folder of a task; run `mosdeploy finetune --task` "
                f"in {context.run.data_root}"
            )
        given = read_toml(path)
        run_data = read_toml(context.files.config_path)
        unknown = [name for name in given if name not in (*REPLACED, *SHARED)]
        if unknown or "task" not in given:
            raise ConfigError(
                f"{path}: a task's file has a section [task] and may have "
                f"{', '.join(REPLACED[1:])}"
                + (f", but not {', '.join(unknown)}" if unknown else "")
            )
        trained = trained_run(context.run)
        if trained.card.budget is not None:
            # what it left to a winner is what a task gets, and what the supernet had comes on top
            # from scratch, unless the task's file says something else
            for name, keys in _budgeted_steps(trained.config).items():
                run_data[name] = {**run_data.get(name, {}), **keys}
                if isinstance(own := given.get(name), dict):
                    # steps that a task's file says are those that are trained
                    less = {"same_time"} if "steps" in own else set()
                    given[name] = {k: x for k, x in keys.items() if k not in less} | own
            for name in ("budget", "num_winners"):
                run_data["training"].pop(name, None)
        merged = {
            **run_data,
            **{name: given[name] for name in REPLACED if name in given},
            "served_by": "../..",
        }
        if "deploy" in merged:
            # each task is deployed under the name of its own folder
            merged["deploy"] = {k: v for k, v in merged["deploy"].items() if k != "name"}
        config = parse_run_config(merged, str(path))
        _check_shared(given, merged, config, path)
        root = context.files.task_root(path.stem)
        return cls(context, trained, root, merged, config)

    def write(self, arch_name: str) -> str:
        """Make the folder: run file, device profiles, tokenizer, supernet, architecture."""
        files = self.context.files
        picked = pick(self.trained, arch_name, self.context.progress)
        run = Run(Workspace(self.root), self.config)
        data = self.context.family.load_data(self.config, run.data_root)
        net = self._served(data)
        # nothing is written before all is known to fit
        with disk_errors(self.root):
            make_folder(self.root)
        profiles = files.root / "device_profiles"
        if profiles.is_dir():
            shutil.copytree(profiles, self.root / profiles.name, dirs_exist_ok=True)
        atomic_write(run.workspace.tokenizer_path, self.trained.tokenizer_bytes())
        self._write_supernet(run, data, net)
        atomic_write(run.workspace.config_path, tomli_w.dumps(self.data))
        self._write_arch(TrainedRun(run, run.supernet_card()), picked)
        return ""

    def _served(self, data: Any) -> Any:
        serve_task = self.context.family.serve_task
        assert serve_task is not None  # `read` refuses it
        seed = self.config.training.seed
        return serve_task(self.trained.net, self.context.config, self.config, seed, data.train)

    def _write_supernet(self, run: Run, data: Any, net: Any) -> None:
        from ..supernet.checkpoint import save_supernet

        files = run.workspace
        write_record(files.data_card_path, data_card(run, data, num_too_long=0))
        save_supernet(files.supernet_path, net)
        trained = self.trained.card
        known = {
            "budget": None,
            "inputs": supernet_inputs(run, data.sha256),
            "space_sha256": run.space_sha256,
            "data_sha256": data.sha256,
            "supernet_sha256": sha256_file(files.supernet_path),
        }
        card = readable_record(SupernetCard, files.supernet_card_path)
        if card and known.items() <= card.model_dump().items():
            return  # its losses need not be computed again
        state = TrainedRun(run, trained.model_copy(update=known))
        batches = self._valid_batches(state)
        losses = {
            f"{name}_loss": _loss(net, batches, state.arch(name))
            for name in ("largest", "smallest")
        }
        write_record(files.supernet_card_path, state.card.model_copy(update=losses))

    def _write_arch(self, state: TrainedRun, picked: Picked) -> None:
        """Write the architecture as the result of a search that saw this one alone, under the
        limits of the one that found it.
        """
        arch = picked.arch
        spec = state.spec
        cost = cost_function(spec, state.family, len(state.tokenizer_bytes()))(arch)
        found = self.trained.search_of(arch.key)
        loss = _loss(state.net, self._valid_batches(state), arch)
        candidate = Candidate(
            arch=arch,
            loss=loss,
            predicted_ms=None,
            num_parameters=cost.num_parameters,
            num_body_parameters=cost.num_body_parameters,
            size_bytes=cost.size_bytes,
        )
        limits = found.limits if found is not None else NO_LIMITS
        if picked.limit_ms is not None:
            limits = limits.model_copy(update={"max_latency_ms": picked.limit_ms})
        result = SearchResult(
            device=self.trained.searched_device or state.run.device_name(None),
            workload=state.config.workload,
            limits=limits,
            statistic=found.statistic if found is not None else "median",
            space_sha256=state.card.space_sha256,
            supernet_sha256=state.card.supernet_sha256,
            predictor_sha256=None,  # latencies were those of another head
            winner=candidate,
            verified=False,
            finalists=(),
            front=(candidate,),
            num_evaluated=1,
            seed=state.config.search.seed,
        )
        write_record(state.files.search_result_path, result)

    def _valid_batches(self, state: TrainedRun) -> "list[Batch]":
        from ..data.batches import ordered_batches

        examples = state.validation_set(state.config.search.eval_examples)
        return ordered_batches(examples)


def _budgeted_steps(config: RunConfig) -> dict[str, dict[str, int]]:
    """What a budget said of steps, by section and key."""
    training = config.training
    return {
        "training": {"steps": training.steps, "warmup_steps": training.warmup_steps},
        "finetune": {"steps": config.finetune.steps, "same_time": config.finetune.same_time},
    }


def _loss(net: Any, batches: "list[Batch]", arch: ArchConfig) -> float:
    from ..training.validation import validation_loss

    return validation_loss(net, batches, arch)


def _check_shared(
    given: dict[str, Any], merged: dict[str, Any], config: RunConfig, path: Path
) -> None:
    """Refuse a task's file that says another supernet than the run file."""
    said = {name: given[name] for name in SHARED if name in given}
    own = parse_run_config({**merged, **said}, str(path))
    wrong = [name for name in SHARED if getattr(own, name, None) != getattr(config, name, None)]
    if wrong:
        raise ConfigError(
            f"{path} is the file of a task for another supernet: its "
            f"{' and '.join(f'[{name}]' for name in wrong)} differs from the run file's; leave it "
            "out, or run the command in the folder of that supernet"
        )
