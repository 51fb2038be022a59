"""Training a supernet by the sandwich rule, or one subnet alone.

In: a `Supernet` or a `Subnet`, batches, a `TrainingConfig` and the names of two files. Out: the net with trained
weights, a state file that a killed run resumes from, a JSON Lines log, and a `TrainingSummary`. This file reads no
corpus and decodes nothing.

Every random choice of an update (architectures, dropout) comes from generators seeded by the run's seed and the number
of the update, and every batch from its step, so a resumed run walks the trajectory of an undisturbed one.

Shapes: B sentences, S source positions, T target positions, V vocabulary.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch.nn import functional as F

from ..config import SupernetConfig, TrainingConfig
from ..errors import ConfigError, MosdeployError, StaleInputError
from ..schema import Record
from ..space import ArchConfig, SearchSpace
from ..supernet.checkpoint import load_training_state, save_training_state
from ..supernet.subnet import Subnet
from ..supernet.supernet import Supernet
from ..workspace import append_line, atomic_write, read_lines
from .batches import Batch, Batches
from .evaluate import validation_loss
from .tokenizer import PAD_ID

ProgressCallback = Callable[[int, int, float, float, float], None]
"""Called after each update with: update (from 1), total updates, loss, target tokens a second, seconds left."""


class LogLine(Record):
    """One line of the training log, one for each update.

    `loss` is the label-smoothed training loss; the three others are validation losses, negative log-likelihoods, of
    a supernet's largest and smallest subnet, or of the subnet that is trained alone; all in nats per target token.
    `tokens_per_s` counts each target token once, however many architectures saw it; `seconds` is the training time so
    far, summed over resumed runs.
    """

    update: int
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens_per_s: float
    seconds: float
    largest_loss: float | None = None
    smallest_loss: float | None = None
    subnet_loss: float | None = None


class TrainingSummary(Record):
    """What a finished run reached; `first_update` is above 1 if this call resumed one.

    `losses` are the last validation losses, by their names in `LogLine`.
    """

    updates: int
    first_update: int
    losses: dict[str, float]
    train_seconds: float


@dataclass(frozen=True)
class Compute:
    """Where and in which precision to train."""

    device: torch.device
    bf16: bool

    @classmethod
    def of(cls, config: TrainingConfig) -> Self:
        """Resolve `auto`: a GPU if there is one; bf16 on a GPU that has it, full precision elsewhere.

        Raises
        ------
        ConfigError
            If `cuda` is asked for and there is none.
        """
        has_gpu = torch.cuda.is_available()
        if config.compute == "cuda" and not has_gpu:
            raise ConfigError("training.compute = 'cuda', but torch finds no GPU; set it to 'auto' or 'cpu'")
        device = torch.device("cuda" if has_gpu and config.compute != "cpu" else "cpu")
        if config.amp == "auto":
            return cls(device, device.type == "cuda" and torch.cuda.is_bf16_supported())
        return cls(device, config.amp == "bf16")

    def autocast(self) -> torch.autocast:
        """Context in which the network computes."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)


def train(
    net: Supernet | Subnet,
    batches: Batches,
    valid_batches: Sequence[Batch],
    config: TrainingConfig,
    state_path: Path,
    log_path: Path,
    made_from: str,
    progress: ProgressCallback | None = None,
) -> TrainingSummary:
    """Train a network, or go on where a killed run of the same inputs stopped.

    Each update of a supernet computes the loss of the largest, the smallest and `num_random_archs` random architectures
    on the same batches, averages their gradients, and takes one Adam step (the sandwich rule of BigNAS; MoS trains so
    too). A subnet trains alone, in the same way but for the architectures.

    Parameters
    ----------
    net
        With the weights to start from, which a state to resume from replaces. Left on the CPU in eval mode.
    state_path
        Written every `checkpoint_every` updates and at the end; a finished state makes this call return at once.
    log_path
        One `LogLine` an update; lines past the state that is resumed are cut off.
    made_from
        Fingerprint of everything that the run depends on (corpus, tokenizer, space, configs); a state of another
        fingerprint is refused.

    Raises
    ------
    StaleInputError
        If the state file is corrupt or was made from something else.
    ConfigError
        If a GPU is asked for and there is none.
    MosdeployError
        If the loss or the gradient is no longer finite, or the disk is full.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    compute = Compute.of(config)
    net.to(compute.device)
    run = _Run(net, config, compute, state_path, log_path, made_from)
    run.resume()
    first_update = run.update + 1
    session_start = time.monotonic()
    devices = [compute.device] if compute.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        while run.update < config.updates:
            line = run.advance(batches, valid_batches)
            if progress is not None:
                per_update = (time.monotonic() - session_start) / (run.update - first_update + 1)
                left_s = per_update * (config.updates - run.update)
                progress(run.update, config.updates, line.loss, line.tokens_per_s, left_s)
    net.to("cpu").eval()
    return TrainingSummary(
        updates=run.update,
        first_update=first_update,
        losses=run.losses,
        train_seconds=run.seconds,
    )


def fresh_supernet(space: SearchSpace, vocab_size: int, config: SupernetConfig, seed: int) -> Supernet:
    """A supernet with the initial weights of a seed; the global generator is left as it was."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return Supernet(space, vocab_size, config)


def fresh_subnet(arch: ArchConfig, space: SearchSpace, vocab_size: int, config: SupernetConfig, seed: int) -> Subnet:
    """A subnet with the initial weights of a seed; the global generator is left as it was."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return Subnet(arch, space, vocab_size, config=config)


def check_made_from(state_path: Path, made_from: str) -> None:
    """Make sure that a state file, if there is one, can be resumed by a run of this fingerprint.

    Raises
    ------
    StaleInputError
        If it is corrupt or was made from something else.
    """
    if state_path.exists():
        _refuse_other(state_path, load_training_state(state_path), made_from)


def learning_rate(config: TrainingConfig, update: int) -> float:
    """Learning rate of an update (from 1): linear warm-up, then one cosine to zero or the inverse square root."""
    peak, warmup = config.learning_rate, config.warmup_updates
    if update <= warmup:
        return peak * update / warmup
    if config.schedule == "inverse_sqrt":
        return peak * math.sqrt(max(warmup, 1) / update)
    return peak * 0.5 * (1 + math.cos(math.pi * (update - warmup) / (config.updates - warmup + 1)))


def sandwich(space: SearchSpace, num_random_archs: int, seed: int, update: int) -> list[ArchConfig]:
    """The architectures of one update: largest, smallest, then random ones drawn for this seed and update."""
    rng = np.random.default_rng([seed % 2**63, update, _ARCHS])
    return [space.largest, space.smallest, *(space.sample(rng) for _ in range(num_random_archs))]


AGAIN = "delete it and run the same command again, or restore what it was made from"


def _refuse_other(path: Path, state: dict[str, Any], made_from: str) -> None:
    if state.get("made_from") != made_from:
        raise StaleInputError(
            f"{path} was made from another corpus or another configuration than the one at hand; {AGAIN}"
        )


# -- inner ---------------------------------------------------------------------------------------------------------


_ARCHS, _DROPOUT = 0, 1  # random streams of one update


class _Run:
    """A training run between two updates; what is saved is what `_Run` holds."""

    def __init__(
        self,
        net: Supernet | Subnet,
        config: TrainingConfig,
        compute: Compute,
        state_path: Path,
        log_path: Path,
        made_from: str,
    ) -> None:
        self.net, self.config, self.compute = net, config, compute
        self.state_path, self.log_path, self.made_from = state_path, log_path, made_from
        self.optimizer = torch.optim.Adam(
            net.parameters(), lr=config.learning_rate, betas=config.adam_betas, fused=True
        )
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
        lines, torn = read_lines(self.log_path)
        try:
            kept = [line for line in lines if json.loads(line)["update"] <= self.update]
        except (ValueError, KeyError, TypeError) as error:
            raise StaleInputError(
                f"{self.log_path} is corrupt ({error}); delete it, only the plot of the training is lost, "
                "and run the same command again"
            ) from error
        if torn or len(kept) < len(lines):
            atomic_write(self.log_path, b"".join(line + b"\n" for line in kept))

    def advance(self, batches: Batches, valid_batches: Sequence[Batch]) -> LogLine:
        """Make one update; validate, log and save when it is time."""
        start = time.monotonic()
        self.update += 1
        rate = learning_rate(self.config, self.update)
        step = (self.update - 1) * self.config.accumulate
        parts = [batches[step + i] for i in range(self.config.accumulate)]
        loss, gradient_norm = self._optimize(parts, rate)
        took_s = time.monotonic() - start
        done = self.update == self.config.updates
        validated = done or self.update % self.config.validate_every == 0
        if validated:
            self._validate(valid_batches)
        self.seconds += time.monotonic() - start
        line = LogLine(
            update=self.update,
            loss=loss,
            learning_rate=rate,
            gradient_norm=gradient_norm,
            tokens_per_s=sum(part.num_tokens for part in parts) / took_s,
            seconds=self.seconds,
            **(self.losses if validated else {}),
        )
        append_line(self.log_path, line)
        if done or self.update % self.config.checkpoint_every == 0:
            save_training_state(self.state_path, self._state())
        return line

    def _optimize(self, parts: Sequence[Batch], rate: float) -> tuple[float, float]:
        """One Adam step; returns the loss per target token and the gradient's norm before clipping."""
        self.net.train()
        dropout_rng = np.random.default_rng([self.config.seed % 2**63, self.update, _DROPOUT])
        torch.manual_seed(int(dropout_rng.integers(2**62)))
        batches = [part.to(self.compute.device) for part in parts]
        archs = self._archs()
        num_terms = sum(part.num_tokens for part in parts) * len(archs)
        self.optimizer.zero_grad()
        total = torch.zeros((), device=self.compute.device)
        teacher: list[torch.Tensor] = []
        for arch in archs:
            loss, logits = self._accumulate(batches, arch, num_terms, teacher)
            total += loss
            teacher = teacher or logits
        limit = self.config.clip_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), limit)
        if not math.isfinite(total.item()) or not math.isfinite(norm.item()):
            raise self._diverged(f"loss {total.item()}, gradient norm {norm.item()}")
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        return total.item(), norm.item()

    def _archs(self) -> Sequence[ArchConfig | None]:
        if isinstance(self.net, Supernet):
            return sandwich(self.net.space, self.config.num_random_archs, self.config.seed, self.update)
        return [None]

    def _accumulate(
        self, batches: Sequence[Batch], arch: ArchConfig | None, num_terms: int, teacher: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Add the gradients of one architecture, whose weights are generated once for all batches.

        Gradients gather at the generated weights and go through the routers and experts once, which gives the same
        sum; a router draws its dropout once an update.

        Returns
        -------
        tuple[torch.Tensor, list[torch.Tensor]]
            Its share of the loss; and its logits on each batch (B, T, V) if those are to teach the others.
        """
        generated = self.net.generate(arch, router_dropout=True) if arch and isinstance(self.net, Supernet) else {}
        lent = {name: weight.detach().requires_grad_() for name, weight in generated.items()}
        total = torch.zeros((), device=self.compute.device)
        taught = []
        for i, batch in enumerate(batches):
            with self.compute.autocast():
                logits = self.net(batch.src, batch.prev, *([arch, lent] if arch else []))  # (B, T, V)
            loss = self._summed_loss(logits, batch, teacher[i] if teacher else None) / num_terms
            torch.autograd.backward([loss])
            total += loss.detach()
            if self.config.distillation and not teacher:
                taught.append(logits.detach())
        if generated:
            torch.autograd.backward(list(generated.values()), [weight.grad for weight in lent.values()])
        return total, taught

    def _summed_loss(self, logits: torch.Tensor, batch: Batch, teacher: torch.Tensor | None) -> torch.Tensor:
        """Label-smoothed cross-entropy; `distillation` of it against what the largest network says, if it has spoken.

        Both logits are (B, T, V). In-place distillation is of BigNAS (Yu et al., ECCV 2020).
        """
        hard = F.cross_entropy(
            logits.flatten(0, 1).float(),  # (B * T, V)
            batch.target.flatten(),  # (B * T,)
            ignore_index=PAD_ID,
            label_smoothing=self.config.label_smoothing,
            reduction="sum",
        )
        if teacher is None:
            return hard
        real = batch.target != PAD_ID  # (B, T)
        soft = F.cross_entropy(logits[real].float(), teacher[real].float().softmax(-1), reduction="sum")
        return torch.lerp(hard, soft, self.config.distillation)

    def _validate(self, valid_batches: Sequence[Batch]) -> None:
        self.losses = {name: validation_loss(self.net, valid_batches, arch) for name, arch in self.judged.items()}
        if not all(math.isfinite(loss) for loss in self.losses.values()):
            raise self._diverged(f"validation losses {self.losses}")

    def _state(self) -> dict[str, Any]:
        return {
            "made_from": self.made_from,
            "update": self.update,
            "seconds": self.seconds,
            "losses": self.losses,
            "model": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        _refuse_other(self.state_path, state, self.made_from)
        try:
            self.net.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.update, self.seconds = int(state["update"]), float(state["seconds"])
            self.losses = {str(name): float(loss) for name, loss in state["losses"].items()}
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            raise StaleInputError(f"{self.state_path} does not fit this network ({error}); {AGAIN}") from error

    def _diverged(self, what: str) -> MosdeployError:
        return MosdeployError(
            f"training diverged at update {self.update}: {what}; lower training.learning_rate (now "
            f"{self.config.learning_rate}) or raise training.warmup_updates (now {self.config.warmup_updates}), "
            f"delete {self.state_path} and run the same command again"
        )
