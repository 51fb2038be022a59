"""Training a supernet by the sandwich rule, or one subnet alone.

In: a `Supernet` or a `Subnet`, batches, a `TrainingConfig` and the names of two files. Out: the net
with trained weights, a state file that a killed run resumes from, a JSON Lines log, and a
`TrainingSummary`. This file reads no corpus and decodes nothing.

The random choices of an update come from generators seeded by the run's seed and the number of the
update (architectures) or of the batch (dropout), and every batch from its step. So a resumed run
walks the trajectory of an undisturbed one, and several ranks, each with its share of an update's
batches, that of one process.

Shapes: B sentences, S source positions, T target positions, V vocabulary.
"""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from ..config.sections import SupernetConfig, TrainingConfig
from ..errors import ConfigError, MosdeployError, StaleInputError
from ..families.translation.dataset import Batch, Batches
from ..families.translation.decoding import validation_loss
from ..families.translation.network import Subnet
from ..record import Record
from ..spaces.genes import ArchConfig, SearchSpace
from ..storage import append_line
from ..supernet.checkpoint import load_training_state, save_training_state
from ..supernet.supernet import Supernet
from .device import DeviceContext
from .distributed import SINGLE_PROCESS, DistributedContext
from .gradient import Gradient
from .log import LogLine, cut_log
from .schedule import learning_rate

ProgressCallback = Callable[[int, int, float, float, float], None]
"""Called after each update with: update (from 1), total updates, loss, target tokens a second,
seconds left.
"""


class TrainingSummary(Record):
    """What a finished run reached; `first_update` is above 1 if this call resumed one.

    `losses` are the last validation losses, by their names in `LogLine`.
    """

    steps: int
    first_update: int
    losses: dict[str, float]
    train_seconds: float


def train(
    net: Supernet | Subnet,
    batches: Batches,
    valid_batches: Sequence[Batch],
    config: TrainingConfig,
    state_path: Path,
    log_path: Path,
    inputs_sha256: str,
    progress: ProgressCallback | None = None,
    ranks: DistributedContext = SINGLE_PROCESS,
) -> TrainingSummary:
    """Train a network, or go on where a killed run of the same inputs stopped.

    Each update of a supernet computes the loss of the largest, the smallest and `num_random_archs`
    random architectures (or as `extremes` says), averages their gradients, and takes one Adam step
    (the sandwich rule of BigNAS; MoS trains so too, with the same batches for all of them). A
    subnet trains alone, in the same way but for the architectures.

    Parameters
    ----------
    net
        With the weights to start from, which a state to resume from replaces. Left on the CPU in
        eval mode.
    state_path
        Written every `checkpoint_every` updates and at the end; a finished state makes this call
        return at once.
    log_path
        One `LogLine` an update; lines past the state that is resumed are cut off.
    inputs_sha256
        Fingerprint of everything that the run depends on (corpus, tokenizer, space, configs); a
        state of another fingerprint is refused.
    ranks
        This process among those that train together: each computes its share of an update's
        batches, the first writes.

    Raises
    ------
    StaleInputError
        If the state file is corrupt or was made from something else.
    ConfigError
        If a GPU is asked for and there is none, or there are more ranks than batches in an update.
    MosdeployError
        If the loss or the gradient is no longer finite, the disk is full, or another rank is gone.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if ranks.size > config.grad_accum_steps:
        raise ConfigError(
            f"training.grad_accum_steps = {config.grad_accum_steps} batches an update leave nothing to do for some of "
            f"{ranks.size} processes; raise it to a multiple of {ranks.size} (and lower training.tokens_per_batch), "
            "or start fewer"
        )
    compute = DeviceContext.of(config, ranks.local)
    net.to(compute.device)
    run = _Run(net, config, compute, state_path, log_path, inputs_sha256, ranks)
    run.resume()
    first_update = run.update + 1
    session_start = time.monotonic()
    devices = [compute.device] if compute.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        while run.update < config.steps:
            line = run.advance(batches, valid_batches)
            if progress is not None:
                per_update = (time.monotonic() - session_start) / (run.update - first_update + 1)
                left_s = per_update * (config.steps - run.update)
                progress(run.update, config.steps, line.loss, line.tokens_per_s, left_s)
    net.to("cpu").eval()
    return TrainingSummary(
        steps=run.update,
        first_update=first_update,
        losses=run.losses,
        train_seconds=run.seconds,
    )


def fresh_supernet(
    space: SearchSpace, vocab_size: int, config: SupernetConfig, seed: int
) -> Supernet:
    """A supernet with the initial weights of a seed; the global generator is left as it was."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return Supernet(space, vocab_size, config)


def fresh_subnet(
    arch: ArchConfig, space: SearchSpace, vocab_size: int, config: SupernetConfig, seed: int
) -> Subnet:
    """A subnet with the initial weights of a seed; the global generator is left as it was."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return Subnet(arch, space, vocab_size, config=config)


def check_inputs(state_path: Path, inputs_sha256: str) -> None:
    """Make sure that a state file, if there is one, can be resumed by a run of this fingerprint.

    Raises
    ------
    StaleInputError
        If it is corrupt or was made from something else.
    """
    if state_path.exists():
        _refuse_other(state_path, load_training_state(state_path), inputs_sha256)


MIN_LOSS_SCALE = 2.0**-10
"""Below this fp16's gradients do not overflow because they are scaled up: the training diverged."""

AGAIN = "delete it and run the same command again, or restore what it was made from"


def _refuse_other(path: Path, state: dict[str, Any], inputs_sha256: str) -> None:
    if state.get("inputs_sha256") != inputs_sha256:
        raise StaleInputError(
            f"{path} was made from another corpus or another configuration than the one at hand; {AGAIN}"
        )


# -- inner -----------------------------------------------------------------------------------------
# ----------------


def _digest(net: torch.nn.Module) -> int:
    """48 bits that tell two networks apart."""
    digest = hashlib.sha256()
    for parameter in net.parameters():
        digest.update(parameter.detach().cpu().numpy().tobytes())
    return int.from_bytes(digest.digest()[:6])


class _Run:
    """A training run between two updates; what is saved is what `_Run` holds."""

    def __init__(
        self,
        net: Supernet | Subnet,
        config: TrainingConfig,
        compute: DeviceContext,
        state_path: Path,
        log_path: Path,
        inputs_sha256: str,
        ranks: DistributedContext,
    ) -> None:
        self.net, self.config, self.compute, self.ranks = net, config, compute, ranks
        self.state_path, self.log_path, self.inputs_sha256 = state_path, log_path, inputs_sha256
        self.optimizer = torch.optim.Adam(
            net.parameters(), lr=config.learning_rate, betas=config.adam_betas, fused=True
        )
        self.scaler = compute.scaler()
        self.gradient = Gradient(net, config, compute, self.scaler, ranks)
        self.update = 0
        self.seconds = 0.0
        self.losses: dict[str, float] = {}
        self.judged: dict[str, ArchConfig | None] = {"subnet_loss": None}
        if isinstance(net, Supernet):
            self.judged = {"largest_loss": net.space.largest, "smallest_loss": net.space.smallest}

    def resume(self) -> None:
        """Take up the state file, if there is one, and cut the log back to it."""
        if self.state_path.exists():
            self._restore(load_training_state(self.state_path))
        self.ranks.check_same(_digest(self.net))
        if self.ranks.is_first:
            cut_log(self.log_path, self.update)

    def advance(self, batches: Batches, valid_batches: Sequence[Batch]) -> LogLine:
        """Make one update; validate, log and save when it is time."""
        start = time.monotonic()
        self.update += 1
        rate = learning_rate(self.config, self.update)
        loss, gradient_norm, num_tokens = self._optimize(batches, rate)
        took_s = time.monotonic() - start
        done = self.update == self.config.steps
        validated = done or self.update % self.config.validate_every == 0
        if validated:
            self._validate(valid_batches)
        self.seconds += time.monotonic() - start
        line = LogLine(
            step=self.update,
            loss=loss,
            learning_rate=rate,
            gradient_norm=gradient_norm,
            tokens_per_s=num_tokens / took_s,
            seconds=self.seconds,
            **(self.losses if validated else {}),
        )
        if self.ranks.is_first:
            self._write(line, done)
        return line

    def _write(self, line: LogLine, done: bool) -> None:
        append_line(self.log_path, line)
        if done or self.update % self.config.checkpoint_every == 0:
            save_training_state(self.state_path, self._state())

    def _optimize(self, batches: Batches, rate: float) -> tuple[float, float | None, int]:
        """One Adam step; returns the loss per target token, the gradient's norm before clipping,
        and the target tokens.

        The norm is None if it was too large for fp16: the scaler then leaves the step out.
        """
        self.optimizer.zero_grad()
        loss, num_tokens = self.gradient.add_up(batches, self.update)
        self.scaler.unscale_(self.optimizer)
        limit = self.config.clip_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), limit).item()
        skipped = (
            self.scaler.is_enabled()
            and not math.isfinite(norm)
            and self.scaler.get_scale() > MIN_LOSS_SCALE
        )
        if not math.isfinite(loss) or not (math.isfinite(norm) or skipped):
            raise self._diverged(f"loss {loss}, gradient norm {norm}")
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss, None if skipped else norm, num_tokens

    def _validate(self, valid_batches: Sequence[Batch]) -> None:
        self.losses = {
            name: self._mean_loss(valid_batches, arch) for name, arch in self.judged.items()
        }
        if not all(math.isfinite(loss) for loss in self.losses.values()):
            raise self._diverged(f"validation losses {self.losses}")

    def _mean_loss(self, valid_batches: Sequence[Batch], arch: ArchConfig | None) -> float:
        own = self.ranks.share(valid_batches)
        nats = (
            validation_loss(self.net, own, arch) * sum(batch.num_tokens for batch in own)
            if own
            else 0.0
        )
        return self.ranks.total(nats) / sum(batch.num_tokens for batch in valid_batches)

    def _state(self) -> dict[str, Any]:
        return {
            "inputs_sha256": self.inputs_sha256,
            "step": self.update,
            "seconds": self.seconds,
            "losses": self.losses,
            "model": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        _refuse_other(self.state_path, state, self.inputs_sha256)
        try:
            self.net.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.scaler.is_enabled():
                self.scaler.load_state_dict(state["scaler"])
            self.update, self.seconds = int(state["step"]), float(state["seconds"])
            self.losses = {str(name): float(loss) for name, loss in state["losses"].items()}
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            raise StaleInputError(
                f"{self.state_path} does not fit this network ({error}); {AGAIN}"
            ) from error

    def _diverged(self, what: str) -> MosdeployError:
        return MosdeployError(
            f"training diverged at update {self.update}: {what}; lower training.learning_rate (now "
            f"{self.config.learning_rate}) or raise training.warmup_steps (now {self.config.warmup_steps}), "
            f"delete {self.state_path} and run the same command again"
        )
