"""Where and in which precision a network trains."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Self

import torch

from ..config.sections import TrainingConfig
from ..errors import ConfigError, MosdeployError
from ..supernet.layers import computing_attention


@dataclass(frozen=True)
class DeviceContext:
    """A device, the type of the network's matrix products, and whether its attention is unfused."""

    device: torch.device
    dtype: torch.dtype
    is_unfused: bool = False

    @classmethod
    def of(cls, config: TrainingConfig, local_rank: int = 0) -> Self:
        """Resolve `auto`: a GPU if there is one; bf16 on a GPU that has it, full precision
        elsewhere, as long as a trial on the CPU (`precision.py`) has not said otherwise.
        """
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
        # of the matrix products alone: parameters, their gradients and Adam's state stay float32
        dtypes = {"none": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        # the backward pass of torch's fused attention is slow in bf16 on CPUs, where sequences are
        # short: 27 positions took 34 ms on a Xeon with AMX, 16 unfused
        return cls(device, dtypes[config.amp], is_unfused=config.amp == "bf16" and not use_gpu)

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
        """What keeps small gradients above the least number of fp16; in other precisions it does
        nothing.
        """
        # bf16 has the exponents of float32, so its gradients need no scaling
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)


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
