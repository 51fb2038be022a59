"""The processes that train one network together.

In: what torchrun tells each of them in its environment. Out: `DistributedContext`: who this process
is, its share of a list, sums over all processes, and words from the first to the others. A process
that nobody started so is `SINGLE_PROCESS`, and all of this does nothing. The only file that knows
torch.distributed.

Every rank runs the same updates on its share of the batches; gradients are added up once an update.
That is what DistributedDataParallel does, without its hooks: those want the same parameters used in
every backward pass, and here every architecture uses others.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from ..config.sections import TrainingConfig
from ..errors import ConfigError, MosdeployError
from .device import DeviceContext

T = TypeVar("T")

BUCKET_ELEMENTS = 2**24
"""Numbers that are added up in one message: 64 MiB of float32."""
PATIENCE_S = 24 * 3600.0
"""How long the other ranks wait while the first reads the corpus, or measures on a device."""


class KeyValueStore(Protocol):
    """The board on which a rank leaves words for the others (torch's Store)."""

    def set(self, key: str, value: str) -> None: ...

    def get(self, key: str) -> bytes: ...

    def wait(self, keys: list[str], timeout: timedelta) -> None: ...


@dataclass(frozen=True)
class DistributedContext:
    """Which process this is, of how many.

    Attributes
    ----------
    local
        Its number among those of the same machine: which GPU it takes.
    timeout_s
        How long the others may be silent before this one gives up.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    device: torch.device | None = None
    timeout_s: float = 0.0
    words: "KeyValueStore | None" = None

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

        Raises
        ------
        MosdeployError
            What the task raises; on the other ranks, that it failed.
        """
        if self.words is None:
            return task()
        if not self.is_first:
            verdict, _, text = self.hear(name).partition(":")
            if verdict == "failed":
                raise MosdeployError("the first rank failed; its message says why")
            return text
        try:
            text = task()
        except BaseException:
            self.say(name, "failed:")
            raise
        self.say(name, f"done:{text}")
        return text

    def say(self, name: str, text: str) -> None:
        """Leave a word for the others."""
        if self.words is not None:
            with self._watched():
                self.words.set(name, text)

    def hear(self, name: str, timeout_s: float = PATIENCE_S) -> str:
        """A word that another rank leaves, once it is there.

        Raises
        ------
        MosdeployError
            If it does not come in time, or there is nobody to leave one.
        """
        if self.words is None:
            raise MosdeployError(f"nobody can say '{name}': this process is alone")
        with self._watched():
            self.words.wait([name], timedelta(seconds=timeout_s))
            return self.words.get(name).decode()

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all ranks; all ranks bring the same shapes in the
        same order.
        """
        if self.size == 1:
            return
        bucket, filled = list[Tensor](), 0
        for tensor in tensors:
            if bucket and filled + tensor.numel() > BUCKET_ELEMENTS:
                self._add(bucket)
                bucket, filled = [], 0
            bucket.append(tensor)
            filled += tensor.numel()
        if bucket:
            self._add(bucket)

    def total(self, value: float) -> float:
        """Sum of a number over all ranks."""
        tensor = torch.tensor(value, dtype=torch.float64, device=self.device)
        self.add([tensor])
        return tensor.item()

    def check_same(self, number: int) -> None:
        """Make sure that all ranks hold the same number.

        Raises
        ------
        MosdeployError
            If they do not: each sees files of its own.
        """
        if self.size == 1:
            return
        extremes = torch.tensor([number, -number], dtype=torch.int64, device=self.device)
        with self._watched():
            dist.all_reduce(extremes, dist.ReduceOp.MAX)
        if extremes[0].item() != -extremes[1].item():
            raise MosdeployError(
                "the ranks start from different weights: the run folder must lie on a file system that all machines "
                "share, and all must have the same version of torch"
            )

    def _add(self, bucket: Sequence[Tensor]) -> None:
        flat = torch.cat([tensor.flatten() for tensor in bucket])
        with self._watched():
            dist.all_reduce(flat)
        for tensor, summed in zip(
            bucket, torch.split(flat, [tensor.numel() for tensor in bucket]), strict=True
        ):
            tensor.copy_(summed.view_as(tensor))

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Turn a rank that is gone into an error that says what to do."""
        try:
            yield
        except (RuntimeError, ConnectionError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise MosdeployError(
                f"rank {self.rank} of {self.size} lost touch with the others: one of them ended, or was silent for "
                f"{self.timeout_s:g} s ({reason[0]}); its own message, if any, says why. Start all of them again with "
                "the same command: it goes on from the last checkpoint"
            ) from error


SINGLE_PROCESS = DistributedContext()


@contextlib.contextmanager
def init_distributed(config: TrainingConfig) -> Iterator[DistributedContext]:
    """Meet the other processes that torchrun started, for as long as the block runs; without any,
    be `SINGLE_PROCESS`.

    On GPUs, one a process, messages go from GPU to GPU (nccl), else by way of the CPU (gloo).

    Raises
    ------
    ConfigError
        If a machine has fewer GPUs than processes.
    MosdeployError
        If the others do not come.
    """
    size, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    if size == 1:
        yield SINGLE_PROCESS
        return
    device = DeviceContext.of(config, local).device
    use_gpu = device.type == "cuda"
    if use_gpu and local >= torch.cuda.device_count():
        raise ConfigError(
            f"more processes were started than this machine has GPUs ({torch.cuda.device_count()}); "
            "lower --nproc-per-node"
        )
    rank = int(os.environ["RANK"])
    timeout = timedelta(seconds=config.rank_timeout_s)
    with DistributedContext(rank, size, local, device, config.rank_timeout_s)._watched():
        store, _, _ = next(rendezvous("env://", timeout=timeout))
        dist.init_process_group(
            "nccl" if use_gpu else "gloo",
            store=dist.PrefixStore("group", store),  # type: ignore[attr-defined]
            rank=rank,
            world_size=size,
            timeout=timeout,
            device_id=device if use_gpu else None,
        )
        dist.barrier()  # nobody goes on, or fails, before all are there
    words = dist.PrefixStore("words", store)  # type: ignore[attr-defined]
    yield DistributedContext(rank, size, local, device, config.rank_timeout_s, words)
    dist.destroy_process_group()  # not after an error: the others may be gone, and the process ends anyway
