"""Which precision a training computes in on a CPU, found by trying.

In: a network, its batches and a config that leaves the choice open. Out: a `PrecisionTrial`, the
faster of full precision and bf16, with the times of both. On a CPU with AMX or AVX512-BF16 wide
networks are about twice as fast in bf16, narrow ones slower: no table of processors tells.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Literal

import torch

from ..data.batches import Batches
from ..record import Record
from .distributed import SINGLE_PROCESS
from .gradient import Gradient

MAX_ROUNDS = 3
TRIAL_S = 1.0
"""No further round begins when those before took so long; one that warms up and one that counts are
made anyway.
"""
MIN_GAIN = 1.1
"""How many times faster bf16 must be: noise alone shall not give up full precision."""

Amp = Literal["none", "bf16"]
DTYPES: dict[Amp, torch.dtype] = {"none": torch.float32, "bf16": torch.bfloat16}


class PrecisionTrial(Record):
    """What was chosen, and the time of a step's gradient in each precision, with one batch an
    architecture.
    """

    amp: Amp
    full_ms: float
    bf16_ms: float

    @property
    def dtype(self) -> torch.dtype:
        """Of the network's matrix products."""
        return DTYPES[self.amp]

    def __str__(self) -> str:
        name = "bf16" if self.amp == "bf16" else "full precision"
        return (
            f"computing in {name}: the gradient of a step took {self.full_ms:.0f} ms in full "
            f"precision, {self.bf16_ms:.0f} ms in bf16"
        )


def try_precisions(gradient: Gradient, batches: Batches) -> PrecisionTrial:
    """Try both precisions on the first step of a training, in this process alone.

    Leaves gradients at the parameters, and the global random generator changed.
    """
    # one batch an architecture: more of them take as many times longer in either precision
    config = gradient.config.model_copy(update={"grad_accum_steps": 1})
    trials = {
        amp: replace(
            gradient,
            config=config,
            context=replace(gradient.context, dtype=dtype),
            distributed=SINGLE_PROCESS,
        )
        for amp, dtype in DTYPES.items()
    }

    # the same step each time: kernels of bf16 are compiled for each shape of a product, and a
    # training soon meets the same shapes again
    return fastest({amp: partial(trial.add_up, batches, 1) for amp, trial in trials.items()})


def fastest(gradients: Mapping[Amp, Callable[[], object]]) -> PrecisionTrial:
    """Time the same work in both precisions, by turns, and choose.

    Parameters
    ----------
    gradients
        For each precision, what computes the gradient of a step.
    """
    start = time.monotonic()
    best = dict.fromkeys(gradients, float("inf"))
    for number in range(MAX_ROUNDS + 1):
        for amp, gradient in gradients.items():
            began = time.perf_counter()
            gradient()
            # the first round compiles kernels; of the others the least: noise only adds
            if number > 0:
                best[amp] = min(best[amp], time.perf_counter() - began)
        if number > 0 and time.monotonic() - start > TRIAL_S:
            break
    gain = best["none"] / best["bf16"]
    return PrecisionTrial(
        amp="bf16" if gain >= MIN_GAIN else "none",
        full_ms=best["none"] * 1000,
        bf16_ms=best["bf16"] * 1000,
    )
