"""The verb `distill`: have a teacher answer the training inputs anew."""

import contextlib
import functools
import itertools
import logging
import multiprocessing
import os
import shlex
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import Any

from ..errors import ConfigError, MosdeployError, StaleInputError
from ..family import OutputTeacher, TaskData
from ..folders import listed
from ..locks import locked
from ..records import DistilledCard
from ..run_folder.bundles import named_bundle
from ..run_folder.context import Context
from ..run_folder.devices import check_named
from ..run_folder.distilled import (
    LARGEST,
    BegunDistilling,
    begun_command,
    check_has_teachers,
    finished,
    read_answered,
)
from ..run_folder.run import Run, open_run
from ..run_folder.subnets import select_subnet, subnet_card
from ..run_folder.trained_run import trained_run
from ..storage import append_line, fingerprint, sha256_file, write_record
from .answering import num_cores

CHUNK = 256
"""Examples that are handed to a process at a time, and that a kill costs at most."""

_main_lock = threading.Lock()


@dataclass(frozen=True)
class DistillOptions:
    """Who answers, and how."""

    teacher: str = LARGEST
    beam: int | None = None

    def __post_init__(self) -> None:
        if self.beam is not None and self.beam < 1:
            raise ConfigError(
                f"--beam {self.beam}: a beam search has 1 hypothesis or more; give a number from "
                "1, or leave it out"
            )

    @property
    def command(self) -> str:
        """What has this teacher answer."""
        teacher = [] if self.teacher == LARGEST else ["--teacher", self.teacher]
        beam = [] if self.beam is None else ["--beam", str(self.beam)]
        return shlex.join(["mosdeploy", "distill", *teacher, *beam])

    @property
    def name(self) -> str:
        """What a card calls the teacher; a folder by its name, with a slash."""
        return LARGEST if self.teacher == LARGEST else f"{Path(self.teacher).resolve().name}/"


def distill(context: Context, options: DistillOptions | None = None) -> DistilledCard:
    """Have a teacher answer the inputs of all training examples, or go on where a killed run
    stopped; a finished one is left as it is.
    """
    options = _with_folder(context, options or DistillOptions())
    run = context.run
    check_has_teachers(run)
    check_named(context)
    path = context.files.distilled_path
    busy = MosdeployError(f"another `mosdeploy distill` runs in {path.parent}; wait for it")
    with locked(path, busy):
        teacher_sha256 = _teacher_sha256(run, options)
        data = _data(run, options)
        setup = _open(run, options).setup
        inputs_sha256 = fingerprint(data.sha256, teacher_sha256, setup)
        if (card := finished(context.files, inputs_sha256)) is not None:
            context.files.begun_distilling_path.unlink(missing_ok=True)
            context.progress.say("already distilled from the same data by the same teacher")
            return card
        job = _Job(run.workspace.root, options, teacher_sha256)
        num_examples = _answer(context, job, data, inputs_sha256)
        if not num_examples:
            context.files.begun_distilling_path.unlink(missing_ok=True)
            raise ConfigError(
                f"none of the answers of {options.name} is worth training on: is it trained, and "
                "for these inputs?"
            )
        card = DistilledCard(
            inputs_sha256=inputs_sha256,
            data_sha256=data.sha256,
            teacher=options.name,
            teacher_sha256=teacher_sha256,
            setup=setup,
            num_inputs=len(data.train),
            num_examples=num_examples,
            examples_sha256=sha256_file(path),
        )
        write_record(context.files.distilled_card_path, card)
        context.files.begun_distilling_path.unlink(missing_ok=True)
    return card


@dataclass(frozen=True)
class _Job:
    """What a process that answers opens, and what that has to be."""

    root: Path
    options: DistillOptions
    teacher_sha256: str


def _with_folder(context: Context, options: DistillOptions) -> DistillOptions:
    """The same options, with a bundle's folder in the place of its name."""
    if options.teacher == LARGEST:
        return options
    return replace(options, teacher=str(named_bundle(context.files, Path(options.teacher))))


def _answer(context: Context, job: _Job, data: TaskData, inputs_sha256: str) -> int:
    """Have all chunks answered that are not yet; returns how many examples there are in the end."""
    path = context.files.distilled_path
    made_from, answered = read_answered(path)
    if made_from not in (None, inputs_sha256):
        command = begun_command(context.files)
        told = "" if command is None else f"; it was begun by `{command}`"
        raise StaleInputError(
            f"{path} is the work of another teacher or beam, or for other data{told}; delete "
            f"{path.parent} and run the same command again, or restore what it was made from"
        )
    if made_from is None:
        path_of_begun = context.files.begun_distilling_path
        write_record(path_of_begun, BegunDistilling(command=job.options.command))
        append_line(path, {"inputs_sha256": inputs_sha256})
    starts = range(0, len(data.train), CHUNK)
    missing = {
        number: data.train[start : start + CHUNK]
        for number, start in enumerate(starts)
        if number not in answered
    }
    num_done = len(data.train) - sum(map(len, missing.values()))
    num_examples = sum(map(len, answered.values()))
    # a first chunk takes a while: the processes start and each loads the teacher
    context.progress.update("distill", num_done, len(data.train))
    for number, examples in _answers(context.run, job, missing):
        append_line(path, {"chunk": number, "examples": examples})
        num_done += len(missing[number])
        num_examples += len(examples)
        context.progress.update("distill", num_done, len(data.train))
    return num_examples


def _answers(
    run: Run, job: _Job, chunks: dict[int, Sequence[Any]]
) -> Iterator[tuple[int, list[Any]]]:
    """Answers by the number of the chunk, in order, from one process a core."""
    if not chunks:
        return
    num_processes = min(len(chunks), _num_processes(run, job.options))
    # spawned, not forked: a fork would share the threads of torch and of the runtimes
    spawn = multiprocessing.get_context("spawn")
    # nothing is ever sent: the processes end when the writing end is closed, by us or by a kill
    reader, writer = spawn.Pipe(duplex=False)
    executor = ProcessPoolExecutor(
        num_processes, mp_context=spawn, initializer=end_when_closed, initargs=(reader,)
    )
    try:
        left = iter(chunks.items())
        running: deque[tuple[int, Future[_Answered]]] = deque()

        def submit(count: int) -> None:
            with _main_hidden():  # processes are started as chunks are submitted
                for number, examples in itertools.islice(left, count):
                    future = executor.submit(_answer_chunk, job, examples)
                    running.append((number, future))

        submit(2 * num_processes)  # enough that none waits; all answers at once would be in memory
        # in order, so that the same teacher leaves the same file
        while running:
            number, future = running.popleft()
            answered = future.result()
            submit(1)
            for record in answered.logged:
                if (log := logging.getLogger(record.name)).isEnabledFor(record.levelno):
                    log.handle(record)
            yield number, answered.examples
    except BrokenProcessPool as error:
        raise MosdeployError(
            "a process that ran the teacher was killed, perhaps for want of memory: set [training] "
            "threads to fewer processes, and run the same command again"
        ) from error
    except BaseException:
        # on Ctrl-C, SIGTERM or a full disk nobody waits for what is being answered
        writer.close()
        raise
    finally:
        executor.shutdown(cancel_futures=True)
        writer.close()
        reader.close()


@contextlib.contextmanager
def _main_hidden() -> Iterator[None]:
    """Hide the user's program from the processes that are spawned in the block: each would run a
    script without `if __name__ == "__main__"` again. Nothing that they are sent is of that module.
    """
    with _main_lock:  # two at once would put back each other's
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")  # of no file and no name to import
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _num_processes(run: Run, options: DistillOptions) -> int:
    """One a core; one in all for a network on a GPU."""
    from ..training.device import DeviceContext

    training = run.config.training
    if options.teacher == LARGEST and DeviceContext.of(training).device.type != "cpu":
        return 1
    return training.threads or num_cores()


def end_when_closed(reader: Connection) -> None:
    """End this process as soon as the other end of a pipe is closed or its process gone: one that
    was killed cannot tell the processes of its pool, which would wait for more to answer.
    """

    def end() -> None:
        reader.poll(None)
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


@dataclass(frozen=True)
class _Answered:
    """A chunk's answers, and what was logged meanwhile in a process that has no handlers."""

    examples: list[Any]
    logged: list[logging.LogRecord]


def _answer_chunk(job: _Job, examples: Sequence[Any]) -> _Answered:
    logged: SimpleQueue[logging.LogRecord] = SimpleQueue()
    handler = QueueHandler(logged)  # makes records that can be sent
    log = logging.getLogger("mosdeploy")
    log.addHandler(handler)
    try:
        answers = list(_opened(job).answer(examples))
    finally:
        log.removeHandler(handler)
    return _Answered(answers, [logged.get() for _ in range(logged.qsize())])


@functools.cache
def _opened(job: _Job) -> OutputTeacher:
    """The teacher of a process that answers with nothing else."""
    run = open_run(job.root)
    teacher = _open(run, job.options, threads=1)
    # after it was read: another command may have put another one into its place meanwhile
    if _teacher_sha256(run, job.options) != job.teacher_sha256:
        raise StaleInputError(
            f"the teacher was replaced while this command ran: delete "
            f"{run.workspace.distilled_path.parent} and run the same command again"
        )
    return teacher


def _open(run: Run, options: DistillOptions, threads: int | None = None) -> OutputTeacher:
    open_teacher = run.family.distill
    assert open_teacher is not None  # checked before any process was started
    if options.teacher != LARGEST:
        return open_teacher(Path(options.teacher), None, run.config, options.beam, threads)
    state = trained_run(run)
    subnet = select_subnet(state, state.arch(LARGEST), "finetuned").subnet
    return open_teacher(subnet, state.tokenizer, run.config, options.beam, threads)


def _data(run: Run, options: DistillOptions) -> TaskData:
    """The run's data; what its largest subnet is to answer must be what it was trained on."""
    if options.teacher == LARGEST:
        return trained_run(run).data
    return run.family.load_data(run.config, run.workspace.root)


def _teacher_sha256(run: Run, options: DistillOptions) -> str:
    if options.teacher == LARGEST:
        state = trained_run(run)
        try:
            return subnet_card(state, state.arch(LARGEST), "finetuned").subnet_sha256
        except StaleInputError as error:
            raise StaleInputError(
                f"the largest subnet is no teacher before it is trained alone: {error}"
            ) from error
    folder = Path(options.teacher)
    files = [path for path in listed(folder, "*") if path.is_file()]
    if not files:
        raise ConfigError(
            f"--teacher {options.teacher}: no such folder, or an empty one; name `largest`, or the "
            "folder of a bundle or of another model"
        )
    return fingerprint(*(part for path in files for part in (path.name, sha256_file(path))))
