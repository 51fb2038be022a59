"""What a training costs, tried for a few updates on made-up sentences.

In: a search space and config sections. Out: a `TrainingCost`: parameters, optimiser state, peak
memory, time of an update. This file reads no corpus, and no weight that it trains is kept.
"""

import json
import multiprocessing
import re
import resource
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch

from ..config.sections import SupernetConfig, TrainingConfig
from ..families.translation.dataset import Batches, Ragged, TokenizedPairs, ordered_batches
from ..families.translation.tokenizer import EOS_ID
from ..records import TrainingCost
from ..spaces.genes import SearchSpace
from .device import DeviceContext
from .schedule import num_batches, sandwich
from .trainer import fresh_supernet, train

MAX_BATCHES = 2
"""Of an update with more batches, so many are tried and the time is scaled up, that of the step
with it.
"""
ADAM_STATES = 2  # running means of the gradient and of its square, each as large as the parameters


def training_cost(
    space: SearchSpace,
    vocab_size: int,
    supernet: SupernetConfig,
    training: TrainingConfig,
    num_pieces: int,
    num_timed: int = 10,
) -> TrainingCost:
    """Train a fresh supernet for a few updates, in a process of its own, so that its peak memory is
    its own.

    Parameters
    ----------
    num_pieces
        Length of both sides of every made-up sentence pair; batches are as full as
        `tokens_per_batch` allows.
    num_timed
        Updates whose median time is taken. One before them warms up, and the last one validates and
        saves as well.

    Raises
    ------
    ConfigError
        If a GPU is asked for and there is none, or if one pair alone is longer than a batch.
    MosdeployError
        If the loss is not finite, or the disk is full.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as apart:
        return apart.submit(
            _try, space, vocab_size, supernet, training, num_pieces, num_timed
        ).result()


def _try(
    space: SearchSpace,
    vocab_size: int,
    supernet: SupernetConfig,
    training: TrainingConfig,
    num_pieces: int,
    num_timed: int,
) -> TrainingCost:
    updates, grad_accum_steps = num_timed + 2, min(training.grad_accum_steps, MAX_BATCHES)
    changes = {
        "steps": updates,
        "grad_accum_steps": grad_accum_steps,
        "validate_every": updates,
        "checkpoint_every": updates,
    }
    short = training.model_copy(update=changes)
    pairs = _made_up_pairs(vocab_size, num_pieces, training.tokens_per_batch)
    net = fresh_supernet(space, vocab_size, supernet, training.seed)
    num_parameters = sum(parameter.numel() for parameter in net.parameters())
    parameters_bytes = sum(parameter.nbytes for parameter in net.parameters())
    batches = Batches(pairs, training.tokens_per_batch, training.seed)
    with TemporaryDirectory() as folder:
        log_path = Path(folder) / "log.jsonl"
        valid = ordered_batches(pairs, training.tokens_per_batch)
        train(net, batches, valid, short, Path(folder) / "state.pt", log_path, "a trial")
        ends = [
            json.loads(line)["seconds"] for line in log_path.read_text().splitlines()
        ]  # (updates,)
    return TrainingCost(
        num_parameters=num_parameters,
        parameters_bytes=parameters_bytes,
        optimizer_bytes=ADAM_STATES * parameters_bytes,
        peak_bytes=_peak_bytes(DeviceContext.of(training).device),
        update_s=median(np.diff(ends[:-1]).tolist()) * training.grad_accum_steps / grad_accum_steps,
        target_tokens=batches[0].num_tokens
        * num_batches(training, len(sandwich(space, training, update=1))),
    )


def _made_up_pairs(vocab_size: int, num_pieces: int, tokens_per_batch: int) -> TokenizedPairs:
    """One full batch of random pairs."""
    rng = np.random.default_rng(0)
    num_pairs = max(1, tokens_per_batch // (num_pieces + 1))
    sides = rng.integers(EOS_ID + 1, vocab_size, (2, num_pairs, num_pieces))
    sources, targets = (Ragged.of(side) for side in sides)
    return TokenizedPairs(sources, targets, 0)


def _peak_bytes(device: torch.device) -> int:
    """Largest memory so far: allocated on a GPU, or resident of this process.

    Linux keeps it in /proc; elsewhere getrusage tells it, which may count what the parent had at
    the start.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists() and (match := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(match[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
