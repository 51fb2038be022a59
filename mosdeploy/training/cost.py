"""What a training costs, tried for a few steps on made-up examples."""

import contextlib
import math
import multiprocessing
import platform
import re
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch

from ..config.sections import SupernetConfig, TrainingConfig
from ..data.batches import Batches, Dataset, ordered_batches
from ..errors import MosdeployError
from ..records import TrainingCost
from ..supernet.elastic import Subnet
from ..supernet.supernet import Supernet
from .device import DeviceContext
from .gradient import num_batches, sandwich
from .log import LogLine
from .trainer import TrainingJob, train

MAX_BATCHES = 2
"""Of a step with more batches, so many are tried and the time is scaled up, that of the optimiser
with it.
"""
ADAM_STATES = 2  # running means of the gradient and of its square, each as large as the parameters


class _TimeIsOverError(Exception):
    """Ends a trial before its last step."""


@dataclass(frozen=True)
class CostTask:
    """A training to be tried. Another process gets it, so all of it must be picklable."""

    fresh: Callable[[SupernetConfig], Supernet | Subnet]
    supernet: SupernetConfig
    training: TrainingConfig
    examples: Dataset
    num_timed: int = 10
    max_time_s: float = math.inf


def training_cost(task: CostTask) -> TrainingCost:
    """Train a fresh supernet for a few steps, in a process of its own, so that its peak memory is
    its own.
    """
    # spawned, not forked: a fork would count this process's memory as its own
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=spawn) as executor:
            return executor.submit(_measure, task).result()
    except BrokenProcessPool as error:
        raise MosdeployError(
            "the process that trained a few steps was killed, perhaps for want of memory: give "
            "[training] fewer tokens_per_batch or [space] smaller choices, and try again"
        ) from error


def _measure(task: CostTask) -> TrainingCost:
    training = task.training
    net = task.fresh(task.supernet)
    num_parameters = sum(parameter.numel() for parameter in net.parameters())
    parameters_bytes = sum(parameter.nbytes for parameter in net.parameters())
    step_s = _step_s(task, net)
    batches = Batches(task.examples, training.tokens_per_batch, training.seed)
    num_archs = len(sandwich(net.space, training, step=1)) if isinstance(net, Supernet) else 1
    return TrainingCost(
        num_parameters=num_parameters,
        parameters_bytes=parameters_bytes,
        optimizer_bytes=ADAM_STATES * parameters_bytes,
        # read after the training: both figures are the largest of this process so far
        peak_bytes=_peak_bytes(DeviceContext.of(training).device),
        step_s=step_s,
        num_targets=batches.num_targets(0) * num_batches(training, num_archs),
    )


def step_seconds(task: CostTask) -> float:
    """Median time of a step, tried in this process."""
    return _step_s(task, task.fresh(task.supernet))


def _step_s(task: CostTask, net: Supernet | Subnet) -> float:
    grad_accum_steps = min(task.training.grad_accum_steps, MAX_BATCHES)
    tried_s = _median_step_s(task, net, grad_accum_steps)
    return tried_s * task.training.grad_accum_steps / grad_accum_steps


def _median_step_s(task: CostTask, net: Supernet | Subnet, grad_accum_steps: int) -> float:
    steps = task.num_timed + 2
    changes = {
        "steps": steps,
        "grad_accum_steps": grad_accum_steps,
        "validate_every": steps,
        "checkpoint_every": steps,
        "log": "jsonl",
    }
    config = task.training.model_copy(update=changes)
    batches = Batches(task.examples, config.tokens_per_batch, config.seed)
    ends: list[float] = []  # of each step, since the start

    def note(line: LogLine, *_: float) -> None:
        ends.append(line.seconds)
        if len(ends) > 1 and line.seconds > task.max_time_s:
            raise _TimeIsOverError

    with TemporaryDirectory() as folder, contextlib.suppress(_TimeIsOverError):
        log_path = Path(folder) / "log.jsonl"
        # the folder is empty: there is no state whose fingerprint could differ
        job = TrainingJob(config, Path(folder) / "state.pt", log_path, "a trial")
        train(net, batches, ordered_batches(task.examples, config.tokens_per_batch), job, note)
    # without the first step, which warms up, and the last, which validates and saves
    step_s: list[float] = np.diff(ends[: steps - 1]).tolist()
    return median(step_s)


def _peak_bytes(device: torch.device) -> int:
    """Largest memory so far: allocated on a GPU, or resident of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_resident_bytes()


def peak_resident_bytes(status: Path = Path("/proc/self/status")) -> int:
    """Largest resident memory of this process so far."""
    if status.exists() and (match := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(match[1]) * 1024
    unit_bytes = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes
