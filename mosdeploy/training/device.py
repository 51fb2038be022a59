"""Where and in which precision a network trains; on a CPU, found by trying."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Self

import torch

from ..config.sections import TrainingConfig
from ..errors import ConfigError, MosdeployError
from ..record import Record
from ..supernet.layers import computing_attention

MAX_ROUNDS = 3
TRIAL_S = 1.0
"""No further round of a trial begins after this time."""
MIN_GAIN = 1.1
"""How many times faster bf16 must be: noise alone shall not give up full precision."""

Amp = Literal["none", "bf16", "fp16"]
DTYPES: dict[Amp, torch.dtype] = {
    "none": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


@dataclass(frozen=True)
class DeviceContext:
    """A device, the type of the network's matrix products, and whether its attention is unfused."""

    device: torch.device
    dtype: torch.dtype
    is_unfused: bool = False

    @classmethod
    def of(cls, config: TrainingConfig, local_rank: int = 0) -> Self:
        """Resolve `auto`: a GPU if there is one; bf16 on a GPU that has it, else full precision."""
        has_gpu = torch.cuda.is_available()
        if config.compute == "cuda" and not has_gpu:
            raise ConfigError(
                "training.compute = 'cuda', but torch finds no GPU; set it to 'auto' or 'cpu'"
            )
        use_gpu = has_gpu and config.compute != "cpu"
        # torchrun counts the processes of a machine from 0, as torch does its GPUs
        device = torch.device("cuda", local_rank) if use_gpu else torch.device("cpu")
        if config.amp == "auto":
            # GPUs before compute capability 8 compute bf16 too, much slower than float32
            use_bf16 = use_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
            return cls(device, torch.bfloat16 if use_bf16 else torch.float32)
        # of the matrix products alone: parameters, their gradients and Adam's state stay float32.
        # The backward pass of torch's fused attention is slow in bf16 on CPUs, where sequences are
        # short: 27 positions took 34 ms on a Xeon with AMX, 16 unfused
        return cls(device, DTYPES[config.amp], is_unfused=config.amp == "bf16" and not use_gpu)

    def autocast(self) -> torch.autocast:
        """Context in which the network computes."""
        enabled = self.dtype != torch.float32
        # a context that is off must still name a narrow type
        narrow = self.dtype if enabled else torch.bfloat16
        return torch.autocast(self.device.type, dtype=narrow, enabled=enabled)

    def attention(self) -> AbstractContextManager[None]:
        """Context of forward and backward passes, in which attention is computed as it says."""
        return computing_attention(self.is_unfused)

    def scaler(self) -> torch.amp.GradScaler:
        """What keeps small gradients above the least number of fp16."""
        # bf16 has the exponents of float32, so its gradients need no scaling
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)


class ComputeMode(NamedTuple):
    """A precision, and whether attention is computed unfused."""

    amp: Literal["none", "bf16"]
    is_unfused: bool

    def within(self, context: DeviceContext) -> DeviceContext:
        """The same device, computing in this mode."""
        return replace(context, dtype=DTYPES[self.amp], is_unfused=self.is_unfused)


# in full precision the fused attention is ahead, or behind by little
COMPUTE_MODES = (ComputeMode("none", False), ComputeMode("bf16", False), ComputeMode("bf16", True))


class ComputeModeTrial(Record):
    """What was chosen, and the time of the same work in full precision, in bf16, and there with
    unfused attention.
    """

    amp: Literal["none", "bf16"]
    is_unfused: bool = False
    full_ms: float
    bf16_ms: float
    unfused_ms: float | None = None

    @property
    def mode(self) -> ComputeMode:
        """How to compute."""
        return ComputeMode(self.amp, self.is_unfused)

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


def fastest(work: Mapping[ComputeMode, Callable[[], object]]) -> ComputeModeTrial:
    """Time the same work in all modes, by turns, and choose."""
    start = time.monotonic()
    best = dict.fromkeys(work, float("inf"))
    for number in range(MAX_ROUNDS + 1):
        for mode, run in work.items():
            began = time.perf_counter()
            run()
            # the first round compiles kernels; of the others the least: noise only adds
            if number > 0:
                best[mode] = min(best[mode], time.perf_counter() - began)
        if number > 0 and time.monotonic() - start > TRIAL_S:
            break
    full, fused, unfused = COMPUTE_MODES
    narrow = min(fused, unfused, key=lambda mode: best[mode])
    chosen = narrow if best[full] / best[narrow] >= MIN_GAIN else full
    return ComputeModeTrial(
        amp=chosen.amp,
        is_unfused=chosen.is_unfused,
        full_ms=best[full] * 1000,
        bf16_ms=best[fused] * 1000,
        unfused_ms=best[unfused] * 1000,
    )


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Compute with so many threads, and with as many as before afterwards; None changes nothing."""
    if count is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def memory_errors(config: TrainingConfig) -> Iterator[None]:
    """Tell what to change where the memory of a GPU does not hold a training."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        told = ". ".join(str(error).split(". ")[:2])  # the first two of its many sentences
        raise MosdeployError(
            f"the training does not fit into the memory of the GPU ({told}); "
            f"training.tokens_per_batch is {config.tokens_per_batch}: lower it, and raise "
            "grad_accum_steps in its place, or set training.activation_checkpointing = true; or "
            "stop other programs that use the GPU"
        ) from error
