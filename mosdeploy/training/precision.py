"""Which precision and which attention a training computes with on a CPU, found by trying."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Literal, NamedTuple

import torch

from ..data.batches import Batches
from ..record import Record
from .device import DeviceContext
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


class Way(NamedTuple):
    """A precision, and whether attention is computed unfused."""

    amp: Amp
    is_unfused: bool

    def within(self, context: DeviceContext) -> DeviceContext:
        """The same device, computing in this way."""
        return replace(context, dtype=DTYPES[self.amp], is_unfused=self.is_unfused)


WAYS = (Way("none", False), Way("bf16", False), Way("bf16", True))
"""Those that are tried. In full precision the fused attention is ahead, or behind by little."""


class PrecisionTrial(Record):
    """What was chosen, and the time of a step's gradient in full precision, in bf16, and there with
    unfused attention, with one batch an architecture.
    """

    amp: Amp
    is_unfused: bool = False
    full_ms: float
    bf16_ms: float
    unfused_ms: float | None = None

    @property
    def way(self) -> Way:
        """How to compute."""
        return Way(self.amp, self.is_unfused)

    def __str__(self) -> str:
        name = "bf16" if self.amp == "bf16" else "full precision"
        if self.is_unfused:
            name += " with unfused attention"
        unfused = ""
        if self.unfused_ms is not None:
            unfused = f", {self.unfused_ms:.0f} ms in bf16 with unfused attention"
        return (
            f"computing in {name}: the gradient of a step took {self.full_ms:.0f} ms in full "
            f"precision, {self.bf16_ms:.0f} ms in bf16{unfused}"
        )


def try_precisions(gradient: Gradient, batches: Batches) -> PrecisionTrial:
    """Try all ways on the first step of a training, in this process alone."""
    # one batch an architecture: more of them take as many times longer in any way
    config = gradient.config.model_copy(update={"grad_accum_steps": 1})
    trials = {
        way: replace(
            gradient,
            config=config,
            context=way.within(gradient.context),
            distributed=SINGLE_PROCESS,
        )
        for way in WAYS
    }

    # the same step each time: kernels of bf16 are compiled for each shape of a product, and a
    # training soon meets the same shapes again
    return fastest({way: partial(trial.add_up, batches, 1) for way, trial in trials.items()})


def fastest(gradients: Mapping[Way, Callable[[], object]]) -> PrecisionTrial:
    """Time the same work in all ways, by turns, and choose."""
    start = time.monotonic()
    best = dict.fromkeys(gradients, float("inf"))
    for number in range(MAX_ROUNDS + 1):
        for way, gradient in gradients.items():
            began = time.perf_counter()
            gradient()
            # the first round compiles kernels; of the others the least: noise only adds
            if number > 0:
                best[way] = min(best[way], time.perf_counter() - began)
        if number > 0 and time.monotonic() - start > TRIAL_S:
            break
    full, fused, unfused = WAYS
    narrow = min(fused, unfused, key=lambda way: best[way])
    chosen = narrow if best[full] / best[narrow] >= MIN_GAIN else full
    return PrecisionTrial(
        amp=chosen.amp,
        is_unfused=chosen.is_unfused,
        full_ms=best[full] * 1000,
        bf16_ms=best[fused] * 1000,
        unfused_ms=best[unfused] * 1000,
    )
