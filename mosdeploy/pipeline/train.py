"""The verb `train`: train the supernet of a run folder."""

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import ConfigError, MosdeployError, StaleInputError
from ..family import TaskData
from ..folders import replace_folder, restore_folder
from ..locks import locked
from ..record import Record, parse
from ..records import BegunTraining, SupernetCard
from ..run_folder.budget import training_budget, with_budget
from ..run_folder.context import Context
from ..run_folder.devices import check_named
from ..run_folder.run import Run
from ..run_folder.teacher import ensure_teacher, finished_teacher, is_taught, remove_teacher_state
from ..run_folder.token_files import read_tokens, remove_tokens, training_progress
from ..run_folder.trained_run import training_inputs
from ..run_folder.trained_settings import trained_settings
from ..storage import disk_errors, sha256_file, write_record
from ..workspace import Workspace
from .replacing import (
    begun_training,
    replacement_words,
    stopped_beside,
    stopped_state,
    telling_differences,
)
from .tokenizing import ensure_card, tokenize

if TYPE_CHECKING:
    from ..training.distributed import DistributedContext
    from ..training.trainer import TrainingSummary


@dataclass(frozen=True)
class TrainOptions:
    """What a supernet is trained for."""

    time_s: float | None = None


class PreparedData(Record):
    """What the first rank found and tells the others."""

    begun: BegunTraining
    finished: bool = False
    is_beside: bool = False


def train(context: Context, options: TrainOptions | None = None) -> SupernetCard:
    """Train the supernet of a run folder, or resume; a finished one is left as it is."""
    from ..training.device import torch_threads
    from ..training.distributed import init_distributed

    options = options or TrainOptions()
    training = context.config.training
    with init_distributed(training) as distributed, ExitStack() as held:
        held.enter_context(torch_threads(training.threads))
        told = distributed.first("prepared", lambda: _prepare(context, options, held))
        prepared = parse(PreparedData, json.loads(told), "rank 0")
        if not prepared.finished:
            context = replace(context, run=with_budget(context.run, prepared.begun.budget))
            work = _beside(context) if prepared.is_beside else context
            distributed.first("trained", _train(work, prepared, distributed))
            distributed.first("placed", lambda: _take_place(context.files, prepared))
        return context.run.supernet_card()


def _prepare(context: Context, options: TrainOptions, held: ExitStack) -> str:
    """Hold the folder; make of the data what all ranks read. The first rank's part."""
    files = context.files
    busy = MosdeployError(
        f"another `mosdeploy train` runs in {files.root.absolute()}; wait for it, or stop it"
    )
    held.enter_context(locked(files.supernet_dir, busy))
    for folder in (files.teacher_dir, files.supernet_dir):
        with disk_errors(folder):
            restore_folder(folder)
    standing = _standing(context.run)
    check_named(context)
    data = context.family.load_data(context.config, context.run.data_root)
    budget = training_budget(context, options.time_s, files.beside if standing else None)
    context = replace(context, run=with_budget(context.run, budget))
    config = context.config
    prepared = PreparedData(
        begun=BegunTraining(
            inputs_sha256=training_inputs(context.run, data),
            data_sha256=data.sha256,
            budget=budget,
            settings=trained_settings(config),
        ),
        is_beside=standing is not None,
    )
    made = _standing(_beside(context).run) if standing else None
    if made is not None and made.inputs_sha256 == prepared.begun.inputs_sha256:
        # which a kill kept from it, maybe when only the teacher had taken its own
        if not is_taught(_beside(context).run, data.sha256):
            shutil.rmtree(files.beside.teacher_dir, ignore_errors=True)
        _take_place(files, prepared)
        standing = made
    if standing is not None and standing.inputs_sha256 == prepared.begun.inputs_sha256:
        _remove_leftovers(files)
        ensure_teacher(context, data)
        remove_teacher_state(files)
        ensure_card(context, data)
        context.progress.say("already trained from this data and configuration")
        if stopped_state(files.beside) is not None:
            context.progress.say(stopped_beside(files))
        return prepared.model_copy(update={"finished": True}).model_dump_json()
    if config.served_by is not None:
        raise ConfigError(
            f"the supernet of this task is that of {context.run.data_root}; run `mosdeploy "
            "finetune --task` there again"
        )
    _write_data(context, data, prepared)
    return prepared.model_dump_json()


def _write_data(context: Context, data: TaskData, prepared: PreparedData) -> None:
    """Write tokenizer, card and token ids, after the teacher has labelled the examples."""
    from ..training.trainer import check_inputs

    old = context
    if prepared.is_beside:
        for line in replacement_words(context.files, context.config, prepared.begun):
            context.progress.say(line)
        context = _beside(context)
    files = context.files
    # before anything is overwritten
    with telling_differences(begun_training(files), context.config, prepared.begun):
        check_inputs(files.checkpoint_path, prepared.begun.inputs_sha256)
    write_record(files.begun_path, prepared.begun)
    tokenize(context, data, prepared.begun, old)


def _train(
    context: Context,
    prepared: PreparedData,
    distributed: "DistributedContext",
) -> Callable[[], str]:
    """Train, together with the other ranks."""
    from ..training.trainer import TrainingJob
    from ..training.trainer import train as train_network

    config = context.config
    files = context.files
    batches, valid = read_tokens(files.supernet_dir, context.family, config.training)
    vocab_size = context.family.load_tokenizer(files.tokenizer_path).vocab_size
    seed = config.training.seed
    teacher = finished_teacher(context.run, prepared.begun.data_sha256)
    if teacher is None:
        net = context.family.fresh_supernet(config.space, vocab_size, config.supernet, seed)
    else:
        net = teacher.supernet(seed)
    job = TrainingJob(
        config=config.training,
        state_path=files.checkpoint_path,
        log_path=files.training_log_path,
        inputs_sha256=prepared.begun.inputs_sha256,
        say=context.progress.say,
    )
    show = training_progress("train", context.progress) if distributed.is_first else None
    summary = train_network(net, batches, valid, job, show, distributed)

    def finish() -> str:
        from ..supernet.checkpoint import save_supernet

        save_supernet(files.supernet_path, net)
        # a teacher's table may have rows that the tokenizer has no ids for
        card = _supernet_card(context, prepared, net.vocab_size, summary)
        write_record(files.supernet_card_path, card)
        _remove_state(files)
        remove_teacher_state(files)
        return ""

    return finish


def _supernet_card(
    context: Context, prepared: PreparedData, vocab_size: int, summary: "TrainingSummary"
) -> SupernetCard:
    config = context.config.supernet
    return SupernetCard(
        inputs_sha256=prepared.begun.inputs_sha256,
        space_sha256=context.run.space_sha256,
        data_sha256=prepared.begun.data_sha256,
        tokenizer_sha256=sha256_file(context.files.tokenizer_path),
        supernet_sha256=sha256_file(context.files.supernet_path),
        steps=summary.steps,
        vocab_size=vocab_size,
        routing=config.routing,
        num_experts=config.num_experts,
        largest_loss=summary.losses["largest_loss"],
        smallest_loss=summary.losses["smallest_loss"],
        train_seconds=summary.train_seconds,
        budget=prepared.begun.budget,
        settings=prepared.begun.settings,
    )


def _standing(run: Run) -> SupernetCard | None:
    """The supernet that stands whole in the folder, whatever it was made from."""
    try:
        return run.whole_supernet_card()
    except StaleInputError:
        return None


def _beside(context: Context) -> Context:
    """The same run, with folders of their own for what is made anew."""
    run = context.run
    return replace(context, run=replace(run, workspace=run.workspace.beside))


def _take_place(files: Workspace, prepared: PreparedData) -> str:
    """Put what was trained beside the old supernet in its place. The first rank's part."""
    if prepared.is_beside:
        new = files.beside
        pairs = ((new.teacher_dir, files.teacher_dir), (new.supernet_dir, files.supernet_dir))
        for made, place in pairs:
            if made.exists():
                with disk_errors(place):
                    replace_folder(made, place)
                    shutil.rmtree(made, ignore_errors=True)
    return ""


def _remove_state(files: Workspace) -> None:
    """Remove the optimiser's state and all else to go on with; what stays is the supernet."""
    files.checkpoint_path.unlink(missing_ok=True)
    files.begun_path.unlink(missing_ok=True)
    remove_tokens(files.supernet_dir)


def _remove_leftovers(files: Workspace) -> None:
    """Remove what a kill left at the very end of a training."""
    _remove_state(files)
    # a training that is not over has no card
    if files.beside.supernet_card_path.exists():
        for folder in (files.beside.supernet_dir, files.beside.teacher_dir):
            shutil.rmtree(folder, ignore_errors=True)
