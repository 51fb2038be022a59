"""The processes that train one network together."""

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from ..config.sections import TrainingConfig
from ..errors import ConfigError, MosdeployError
from .device import DeviceContext
from .launch import Launch

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

T = TypeVar("T")

BUCKET_ELEMENTS = 2**24
"""Numbers that are added up in one message: 64 MiB of float32."""
WAIT_TIMEOUT_S = 24 * 3600.0
"""How long the other ranks wait for the first."""
SILENCE_S = 300.0
"""A rank that says nothing for so long is given up."""


@dataclass(frozen=True)
class DistributedContext(Launch):
    """Which process this is, of how many, and how it reaches the others."""

    device: torch.device | None = None
    store: "Store | None" = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Every `size`-th item, beginning with the `rank`-th."""
        return items[self.rank :: self.size]

    def first(self, name: str, task: Callable[[], str]) -> str:
        """What the task returns on the first rank, told to all; the others wait for it, for a day
        at most.
        """
        if self.store is None:
            return task()
        # by way of the store: a collective such as broadcast_object_list gives up after minutes,
        # and the first rank may read data, or measure on a device, for hours
        if not self.is_first:
            with self._watched():
                self.store.wait([name], timedelta(seconds=WAIT_TIMEOUT_S))
                verdict, _, text = self.store.get(name).decode().partition(":")
            if verdict == "failed":
                raise MosdeployError("the first rank failed; its message says why")
            return text
        told = "failed:"  # after Ctrl-C too: the others would wait for WAIT_TIMEOUT_S
        try:
            text = task()
            told = f"done:{text}"
        finally:
            with self._watched():
                self.store.set(name, told)
        return text

    def all_reduce(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all ranks; all ranks bring the same shapes in the
        same order.
        """
        if self.size == 1:
            return
        bucket: list[Tensor] = []
        num_elements = 0
        for tensor in tensors:
            if bucket and num_elements + tensor.numel() > BUCKET_ELEMENTS:
                self._all_reduce(bucket)
                bucket = []
                num_elements = 0
            bucket.append(tensor)
            num_elements += tensor.numel()
        if bucket:
            self._all_reduce(bucket)

    def total(self, value: float) -> float:
        """Sum of a number over all ranks."""
        # float64: sums of losses over many thousand targets
        tensor = torch.tensor(value, dtype=torch.float64, device=self.device)
        self.all_reduce([tensor])
        return tensor.item()

    def check_same(self, number: int) -> None:
        """Make sure that all ranks hold the same number."""
        if self.size == 1:
            return
        # the largest of the numbers, and of their negatives: minus the smallest
        extremes = torch.tensor([number, -number], dtype=torch.int64, device=self.device)
        with self._watched():
            dist.all_reduce(extremes, dist.ReduceOp.MAX)
        if extremes[0].item() != -extremes[1].item():
            raise MosdeployError(
                "the ranks start from different weights: the run folder must lie on a file system "
                "that all machines share, and all must have the same version of torch"
            )

    def _all_reduce(self, bucket: Sequence[Tensor]) -> None:
        # one message a bucket: a message a tensor would cost a round trip for each bias
        flat = torch.cat([tensor.flatten() for tensor in bucket])
        with self._watched():
            dist.all_reduce(flat)
        sizes = [tensor.numel() for tensor in bucket]
        for tensor, summed in zip(bucket, torch.split(flat, sizes), strict=True):
            tensor.copy_(summed.view_as(tensor))

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Turn a rank that is gone into an error that says what to do."""
        try:
            yield
        except (RuntimeError, ConnectionError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise MosdeployError(
                f"rank {self.rank} of {self.size} lost touch with the others: one of them ended, "
                f"or was silent for {SILENCE_S:g} s ({reason[0]}); its own message, if any, "
                "says why. Start all of them again with the same command: it goes on from the last "
                "checkpoint"
            ) from error


SINGLE_PROCESS = DistributedContext()
_GROUP_NUMBERS = itertools.count()
"""The same on all ranks, as all of them go through the same verbs."""


@contextlib.contextmanager
def init_distributed(config: TrainingConfig) -> Iterator[DistributedContext]:
    """Meet the other processes that torchrun started, for as long as the block runs; without any,
    be `SINGLE_PROCESS`.
    """
    launch = Launch.read()
    if launch.size == 1:
        yield SINGLE_PROCESS
        return
    device = DeviceContext.of(config, launch.local_rank).device
    use_gpu = device.type == "cuda"
    if use_gpu and launch.local_rank >= torch.cuda.device_count():
        raise ConfigError(
            f"more processes were started than this machine has GPUs ({torch.cuda.device_count()});"
            " lower --nproc-per-node"
        )
    timeout = timedelta(seconds=SILENCE_S)
    alone = DistributedContext(**vars(launch), device=device)
    # torchrun's store outlives a group, and a later one must not read what was said in it
    number = next(_GROUP_NUMBERS)
    with alone._watched():
        store, _, _ = next(rendezvous("env://", timeout=timeout))
        dist.init_process_group(
            "nccl" if use_gpu else "gloo",
            store=dist.PrefixStore(f"group {number}", store),  # type: ignore[attr-defined]
            rank=launch.rank,
            world_size=launch.size,
            timeout=timeout,
            device_id=device if use_gpu else None,
        )
        dist.barrier()  # nobody goes on, or fails, before all are there
    # one store for both: prefixes keep texts apart from the keys of the process group
    texts = dist.PrefixStore(f"texts {number}", store)  # type: ignore[attr-defined]
    yield replace(alone, store=texts)
    # not after an error: the others may be gone, and the process ends anyway
    dist.destroy_process_group()


def check_num_ranks(config: TrainingConfig, num_ranks: int) -> None:
    """Make sure that every rank has a batch of each architecture of a step."""
    if num_ranks > config.grad_accum_steps:
        raise ConfigError(
            f"training.grad_accum_steps = {config.grad_accum_steps} batches a step leave nothing to"
            f" do for some of {num_ranks} processes; raise it to a multiple of {num_ranks} (and "
            "lower training.tokens_per_batch), or start fewer"
        )


def digest(net: torch.nn.Module) -> int:
    """48 bits that tell the weights of two networks apart, for `check_same`."""
    digest = hashlib.sha256()
    for parameter in net.parameters():
        # bit by bit: sums of weights would differ between kinds of processors
        digest.update(parameter.detach().cpu().numpy().tobytes())
    # 48 bits and their negative fit into the int64 of check_same
    return int.from_bytes(digest.digest()[:6])
