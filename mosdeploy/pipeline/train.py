"""The verb `train`: train the supernet of a run folder."""

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pydantic import JsonValue

from ..errors import ConfigError, MosdeployError
from ..record import Record, parse
from ..records import DryRun, SupernetCard, TrainingBudget
from ..run_folder.artifact import Artifact, Making, digest, explain_difference
from ..run_folder.budget import train_command, with_budget
from ..run_folder.catalog import Catalog
from ..run_folder.context import Context
from ..run_folder.devices import check_named
from ..run_folder.options import TrainOptions
from ..run_folder.run import open_run
from ..run_folder.teacher import finished_teacher, remove_other_teachers
from ..run_folder.trained_run import TrainedRun, supernet_inputs, trained_run
from ..storage import atomic_write, sha256_file, write_record
from .training.prepare import (
    data_card,
    prepare,
    read_tokens,
    remove_tokens,
    restore_teacher,
    training_progress,
)
from .training.timing import busy, training_budget, tried_budget

if TYPE_CHECKING:
    from ..training.distributed import DistributedContext


ROUTINGS = ("none", "layer", "neuron")
"""Ways to share weights that `train --dry-run` compares."""


class _Prepared(Record):
    """What the first rank found and tells the others."""

    inputs: dict[str, JsonValue]
    data_sha256: str
    budget: TrainingBudget | None
    is_done: bool


def train(context: Context, options: TrainOptions | None = None) -> SupernetCard:
    """Train the supernet of a run folder, or resume; a finished one is left as it is."""
    from ..training.device import torch_threads
    from ..training.distributed import init_distributed

    options = options or TrainOptions()
    training = context.config.training
    with torch_threads(training.threads), init_distributed(training) as distributed:
        with ExitStack() as held:
            told = distributed.first("prepared", lambda: _prepare(context, options, held))
            prepared = parse(_Prepared, json.loads(told), "rank 0")
            if not prepared.is_done:
                work = _beside(context, prepared.budget)
                if context.config.supernet_from is None:
                    finish = _train(work, prepared, distributed)
                else:
                    finish = partial(_take, work, prepared.inputs)
                distributed.first("trained", finish)
        # the new supernet has taken its place here, on the first rank
        distributed.first("placed", lambda: _finish(context, prepared))
        return context.run.supernet_card()


def _prepare(context: Context, options: TrainOptions, held: ExitStack) -> str:
    """Hold the folder; make of the data what all ranks read. The first rank's part."""
    check_named(context)
    config = context.config
    data = context.family.load_data(config, context.files.root)
    budget = training_budget(context, options.time_s)
    run = with_budget(context.run, budget)
    inputs = supernet_inputs(run, data.sha256)
    artifact = replace(Catalog(context).supernet, inputs=lambda: inputs)
    _tell_replacement(context, artifact)
    making: Making = held.enter_context(artifact.make(train_command(budget)))
    if making.is_done:
        restore_teacher(replace(context, run=run), data)
        context.progress.say("already trained from this data and configuration")
    elif config.supernet_from is None:
        prepare(replace(context, run=run.beside), data, context.files)
    return _Prepared(
        inputs=making.inputs, data_sha256=data.sha256, budget=budget, is_done=making.is_done
    ).model_dump_json()


def _tell_replacement(context: Context, artifact: Artifact) -> None:
    """Say how a supernet that stands here differs from the one to train, if it does."""
    try:
        made = artifact.made(artifact.folder)
    except MosdeployError:
        return
    changed = "" if made is None else explain_difference(made.inputs, artifact.inputs())
    if changed:
        context.progress.say(
            f"the supernet here was trained otherwise ({changed}). It stays until the new one is "
            "trained; then the search, subnets and bundles made from it no longer count: to keep "
            "them, stop now and train in another run folder"
        )


def _beside(context: Context, budget: TrainingBudget | None) -> Context:
    """The run with the steps of a budget and the folder of a new supernet."""
    return replace(context, run=with_budget(context.run, budget).beside)


def _train(
    context: Context, prepared: _Prepared, distributed: "DistributedContext"
) -> Callable[[], str]:
    """Train, together with the other ranks."""
    from ..training.trainer import TrainingJob
    from ..training.trainer import train as train_network

    config = context.config
    files = context.files
    show = training_progress("train", context.progress) if distributed.is_first else None
    batches, valid = read_tokens(files.supernet_dir, context.family, config.training)
    vocab_size = context.family.load_tokenizer(files.tokenizer_path).vocab_size
    seed = config.training.seed
    teacher = finished_teacher(context.run, prepared.data_sha256)
    if teacher is None:
        net = context.family.fresh_supernet(config.space, vocab_size, config.supernet, seed)
    else:
        net = teacher.supernet(seed)
    job = TrainingJob(
        config=config.training,
        state_path=files.checkpoint_path,
        log_path=files.training_log_path,
        inputs_sha256=digest(prepared.inputs),
        say=context.progress.say,
    )
    summary = train_network(net, batches, valid, job, show, distributed)

    def finish() -> str:
        from ..supernet.checkpoint import save_supernet

        save_supernet(files.supernet_path, net)
        card = SupernetCard(
            inputs=prepared.inputs,
            space_sha256=context.run.space_sha256,
            data_sha256=prepared.data_sha256,
            tokenizer_sha256=sha256_file(files.tokenizer_path),
            supernet_sha256=sha256_file(files.supernet_path),
            steps=job.config.steps,
            # a teacher's table may have rows that the tokenizer has no ids for
            vocab_size=net.vocab_size,
            routing=config.supernet.routing,
            num_experts=config.supernet.num_experts,
            largest_loss=summary.losses["largest_loss"],
            smallest_loss=summary.losses["smallest_loss"],
            train_seconds=summary.train_seconds,
            budget=prepared.budget,
        )
        write_record(files.supernet_card_path, card)
        files.checkpoint_path.unlink(missing_ok=True)
        remove_tokens(files.supernet_dir)
        return ""

    return finish


def _take(context: Context, inputs: dict[str, JsonValue]) -> str:
    """Take the supernet of another run folder, with a fresh head for the task of this one."""
    from ..data.batches import ordered_batches
    from ..supernet.checkpoint import save_supernet
    from ..training.trainer import validation_loss

    run = context.run
    config = run.config
    files = run.workspace
    if run.family.serve_task is None:
        raise ConfigError(f"a supernet of '{run.family.name}' serves no other tasks")
    assert config.supernet_from is not None
    base = trained_run(open_run(files.root / config.supernet_from))
    data = run.family.load_data(config, files.root)
    seed = config.training.seed
    net = run.family.serve_task(base.net, base.config, config, seed, data.train)
    profiles = base.files.root / "device_profiles"
    if profiles.is_dir():
        shutil.copytree(profiles, files.root / profiles.name, dirs_exist_ok=True)
    atomic_write(files.tokenizer_path, base.tokenizer_bytes())
    write_record(files.data_card_path, data_card(run, data))
    save_supernet(files.supernet_path, net)
    card = base.card.model_copy(
        update={
            "inputs": inputs,
            "space_sha256": run.space_sha256,
            "data_sha256": data.sha256,
            "supernet_sha256": sha256_file(files.supernet_path),
            "budget": None,
        }
    )
    state = TrainedRun(run, card)
    valid = ordered_batches(state.validation_set(config.search.eval_examples))
    losses = {
        f"{name}_loss": validation_loss(net, valid, state.arch(name))
        for name in ("largest", "smallest")
    }
    write_record(files.supernet_card_path, card.model_copy(update=losses))
    return ""


def _finish(context: Context, prepared: _Prepared) -> str:
    """Remove the teachers of supernets that were replaced."""
    remove_other_teachers(with_budget(context.run, prepared.budget), prepared.data_sha256)
    return ""


def dry_run(context: Context, options: TrainOptions | None = None) -> DryRun:
    """Try what the configured training costs, beside other ways to share the weights; trains and
    keeps nothing.
    """
    from ..training.cost import CostTask, training_cost

    options = options or TrainOptions()
    check_named(context)
    context.check_checkpoint()
    config = with_budget(context.run, tried_budget(context, options.time_s)).config
    fresh = partial(
        context.family.fresh_supernet, config.space, config.vocab_size, seed=config.training.seed
    )
    examples = context.family.made_up_dataset(config)
    # of a time, that was told with its trial
    if options.time_s is None and (told := busy()):
        context.progress.say(told)
    costs = {}
    total = len(ROUTINGS) + (config.teacher_steps > 0)
    for done, name in enumerate(ROUTINGS):
        context.progress.update("dry run", done, total, name)
        supernet = config.supernet.model_copy(update={"routing": name})
        task = CostTask(fresh=fresh, supernet=supernet, training=config.training, examples=examples)
        costs[name] = training_cost(task)
    teacher_s = 0.0
    if config.teacher_steps:
        context.progress.update("dry run", len(ROUTINGS), total, "teacher")
        # as the estimate of `init` takes it: the largest architecture, trained alone
        alone = partial(
            context.family.fresh_subnet,
            config.space.largest,
            config.space,
            config.vocab_size,
            seed=config.training.seed,
        )
        teacher_s = config.teacher_steps * training_cost(replace(task, fresh=alone)).step_s
    context.progress.update("dry run", total, total)
    return DryRun(
        space_sha256=context.run.space_sha256,
        vocab_size=config.vocab_size,
        steps=config.training.steps,
        costs={"configured": costs[config.supernet.routing], **costs},
        teacher_steps=config.teacher_steps,
        teacher_s=teacher_s,
    )
