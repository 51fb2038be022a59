"""What the ranks of test_distributed run: forked from a server that has torch loaded, so that a
start costs little.
"""

import json
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from training_fixtures import repeating_pairs

from mosdeploy.config.sections import SupernetConfig, TrainingConfig
from mosdeploy.data.batches import Batches, ordered_batches
from mosdeploy.errors import ConfigError, MosdeployError
from mosdeploy.families.translation.elastic import fresh_supernet
from mosdeploy.record import parse
from mosdeploy.spaces.translation import TranslationSpace
from mosdeploy.supernet.checkpoint import save_supernet
from mosdeploy.training import distributed
from mosdeploy.training.log import LogLine
from mosdeploy.training.trainer import TrainingJob, train

Job = dict[str, Any]


def start(size: int, task: Callable[[Job, int], object], job: Job) -> list[ForkServerProcess]:
    """Start a task on so many ranks; what it returns, or its error, is in `answer-RANK` of the
    job's folder.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mosdeploy.training.trainer"])
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    processes = [
        context.Process(target=_run, args=(size, rank, port, task, job)) for rank in range(size)
    ]
    for process in processes:
        process.start()
    return processes


def _run(size: int, rank: int, port: str, task: Callable[[Job, int], object], job: Job) -> None:
    names = {
        "WORLD_SIZE": size,
        "RANK": rank,
        "LOCAL_RANK": rank,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    os.environ.update({name: str(value) for name, value in names.items()})
    distributed.SILENCE_S = job.get("silence_s", 60.0)
    try:
        answer = task(job, rank)
    except MosdeployError as error:
        answer = f"error: {error}"
    if {"torch._dynamo", "sympy"} & set(sys.modules):
        answer = "error: torch.compile was loaded, which takes longer than torch"
    Path(job["folder"], f"answer-{rank}").write_text(json.dumps(answer))


def train_supernet(job: Job, rank: int) -> None:
    """Train a tiny supernet; the job may stop one rank by a signal after a step."""
    folder = Path(job["folder"])
    config = parse(TrainingConfig, job["config"], "job")
    pairs = repeating_pairs()
    seed = rank if job.get("seeds_differ") else 0
    net = fresh_supernet(parse(TranslationSpace, job["space"], "job"), 16, SupernetConfig(), seed)

    def stop(line: LogLine, num_steps: int, left_s: float) -> None:
        if (line.step, rank) == (job.get("stop_at"), job.get("stopped_rank")):
            os.kill(os.getpid(), signal.Signals[job["signal"]])

    with distributed.init_distributed(config) as ranks:
        batches = Batches(pairs, config.tokens_per_batch, config.seed)
        training = TrainingJob(config, folder / "state.pt", folder / "log.jsonl", "x")
        train(net, batches, ordered_batches(pairs, 40), training, stop, ranks)
        if ranks.is_first:
            save_supernet(folder / "supernet.safetensors", net)


def exchange(job: Job, rank: int) -> list[object]:
    """A text of the first rank, and sums of tensors that do not fit into one message."""
    import torch

    def task() -> str:
        if job["fails"]:
            raise ConfigError("no corpus")
        return "a text: two"

    def not_mine() -> str:
        raise AssertionError("only the first rank has a task")

    distributed.BUCKET_ELEMENTS = 5
    with distributed.init_distributed(TrainingConfig(compute="cpu")) as ranks:
        text = ranks.first("prepare", not_mine if rank else task)
        tensors = [torch.full((2, 2), 1.0 + rank), torch.tensor(5.0), torch.arange(7.0) * rank]
        ranks.all_reduce(tensors)
        return [text, *(tensor.tolist() for tensor in tensors), ranks.total(0.5 + rank)]
