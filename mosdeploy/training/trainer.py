"""Training a supernet by the sandwich rule, or one subnet alone."""

import inspect
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..config.sections import TrainingConfig
from ..data.batches import Batch, Batches, check_has_targets
from ..errors import MosdeployError, StaleInputError
from ..record import Record
from ..spaces.genes import ArchConfig
from ..supernet.checkpoint import load_training_state, save_training_state
from ..supernet.elastic import Subnet
from ..supernet.supernet import Supernet
from .device import (
    COMPUTE_MODES,
    ComputeMode,
    ComputeModeTrial,
    DeviceContext,
    fastest,
    memory_errors,
    torch_threads,
)
from .distributed import SINGLE_PROCESS, DistributedContext, check_num_ranks, digest
from .gradient import Distillation, Gradient
from .log import LogLine, TrainingLog, check_log

ProgressCallback = Callable[[LogLine, int, float], None]
"""Called after each step with: its line of the log, the last step to make, seconds left."""

ADAM_BETAS = (0.9, 0.98)

MIN_LOSS_SCALE = 2.0**-10
"""Below this fp16's gradients do not overflow because they are scaled up: the training diverged."""

PERIOD_S = 30.0
"""Of a kill, the work of so many seconds is lost at most, where steps are shorter than that."""
MAX_SHARE = 0.02
"""Of the time that saving may take: a large state is saved less often."""

_AGAIN = "delete it and run the same command again, or restore what it was made from"


@dataclass(frozen=True)
class TrainingJob:
    """What a training is told, besides its network and batches."""

    config: TrainingConfig
    state_path: Path
    log_path: Path
    inputs_sha256: str
    say: Callable[[str], None] | None = None
    distillation: Distillation | None = None
    remedy: str = "lower training.learning_rate or raise training.warmup_steps"


class TrainingSummary(Record):
    """What a finished run reached."""

    losses: dict[str, float]
    train_seconds: float


def train(
    net: Supernet | Subnet,
    batches: Batches,
    valid_batches: Sequence[Batch],
    job: TrainingJob,
    progress: ProgressCallback | None = None,
    distributed: DistributedContext = SINGLE_PROCESS,
) -> TrainingSummary:
    """Train a network, or go on where a killed run of the same inputs stopped."""
    config = job.config
    check_num_ranks(config, distributed.size)
    check_log(config.log)
    context = DeviceContext.of(config, distributed.local_rank)
    gpus = [context.device] if context.device.type == "cuda" else []
    # each step seeds the global generator; the caller's is left as it was
    with memory_errors(config), torch_threads(config.threads), torch.random.fork_rng(gpus):
        net.to(context.device)  # before the optimiser, whose state lies where the parameters do
        run = _Run(net, job, context, distributed)
        run.resume()
        try:
            run.choose_precision(batches)
            summary = run.finish(batches, valid_batches, progress)
        finally:
            if run.log is not None:
                run.log.close()
    net.to("cpu").eval()
    return summary


class _Run:
    """A training run between two steps; what is saved is what it holds."""

    def __init__(
        self,
        net: Supernet | Subnet,
        job: TrainingJob,
        context: DeviceContext,
        distributed: DistributedContext,
    ) -> None:
        self.net = net
        self.job = job
        self.config = job.config
        self.distributed = distributed
        self.optimizer = make_optimizer(net, self.config)
        self.scaler = context.scaler()
        self.gradient = Gradient(
            net, self.config, context, self.scaler, distributed, job.distillation
        )
        self.trial: ComputeModeTrial | None = None
        self.log: TrainingLog | None = None  # of the first rank
        self.step = 0
        self.seconds = 0.0
        self.saves = SaveClock()
        self.losses: dict[str, float] = {}
        # keys are fields of LogLine; None stands for a subnet, which has one architecture only
        self.validated: dict[str, ArchConfig | None] = {"subnet_loss": None}
        if isinstance(net, Supernet):
            self.validated = {
                "largest_loss": net.space.largest,
                "smallest_loss": net.space.smallest,
            }

    def resume(self) -> None:
        """Take up the state file, if there is one, and cut the log back to it."""
        if self.job.state_path.exists():
            self._restore(load_training_state(self.job.state_path))
        # ranks that started from different weights would add up gradients of different networks
        self.distributed.check_same(digest(self.net))
        if self.distributed.is_first:
            self.log = TrainingLog(self.job.log_path, self.config.log, self.step)

    def choose_precision(self, batches: Batches) -> None:
        """Resolve `amp = "auto"` on a CPU: as the state that was resumed says, else by a trial."""
        context = self.gradient.context
        is_open = self.config.amp == "auto" and context.device.type == "cpu"
        if not is_open or self.step >= self.config.steps:
            return
        if self.trial is None:
            start = time.monotonic()
            told = self.distributed.first(
                f"precision of {'/'.join(self.job.state_path.parts[-3:-1])}",  # KEY-WEIGHTS/seed-1
                lambda: try_modes(self.gradient, batches).model_dump_json(),
            )
            self.trial = ComputeModeTrial.model_validate_json(told)
            self.seconds += time.monotonic() - start
        if self.job.say is not None and self.distributed.is_first:
            self.job.say(str(self.trial))
        self.gradient = replace(self.gradient, context=self.trial.mode.within(context))

    def finish(
        self,
        batches: Batches,
        valid_batches: Sequence[Batch],
        progress: ProgressCallback | None,
    ) -> TrainingSummary:
        """Make all steps that are left."""
        resumed_at = self.step
        start = time.monotonic()
        while self.step < self.config.steps:
            line = self.advance(batches, valid_batches)
            if progress is not None:
                # steps of this call alone: earlier ones may have run on another machine
                step_s = (time.monotonic() - start) / (self.step - resumed_at)
                left_s = step_s * (self.config.steps - self.step)
                progress(line, self.config.steps, left_s)
        return TrainingSummary(losses=self.losses, train_seconds=self.seconds)

    def advance(self, batches: Batches, valid_batches: Sequence[Batch]) -> LogLine:
        """Make one step; validate, log and save when it is time."""
        start = time.monotonic()
        self.step += 1
        rate = learning_rate(self.config, self.step)
        loss, gradient_norm, num_targets = self._optimize(batches, rate)
        optimize_s = time.monotonic() - start
        is_last = self.step == self.config.steps
        validate = is_last or self.step % self.config.validate_every == 0
        if validate:
            self._validate(valid_batches)
        # validation is part of the training time, but not of targets_per_s
        self.seconds += time.monotonic() - start
        line = LogLine(
            step=self.step,
            loss=loss,
            learning_rate=rate,
            gradient_norm=gradient_norm,
            targets_per_s=num_targets / optimize_s,
            seconds=self.seconds,
            **(self.losses if validate else {}),
        )
        # the line before the state: what a kill leaves past the saved step is cut off on resuming
        if self.log is not None:
            self.log.append(line)
            if is_last or self.saves.are_due(self.step % self.config.checkpoint_every == 0):
                self.log.flush()
                self.saves.save(self.job.state_path, self._state())
        return line

    def _optimize(self, batches: Batches, rate: float) -> tuple[float, float | None, int]:
        """One Adam step; returns the loss per target, the gradient's norm before clipping, and the
        number of targets. The norm is None where fp16 overflowed: the scaler leaves the step out.
        """
        self.optimizer.zero_grad()  # to None: what no architecture of this step uses stays put
        loss, num_targets = self.gradient.add_up(batches, self.step)
        self.scaler.unscale_(self.optimizer)  # clipping needs the gradient's true norm
        # without a limit the norm is still measured, and the gradient left as it is
        limit = self.config.clip_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), limit).item()
        # fp16 only: scaled up too far, it overflowed; the scaler leaves the step out and goes lower
        skipped = (
            self.scaler.is_enabled()
            and not math.isfinite(norm)
            and self.scaler.get_scale() > MIN_LOSS_SCALE
        )
        if not math.isfinite(loss) or not (math.isfinite(norm) or skipped):
            raise self._diverged(f"loss {loss}, gradient norm {norm}")
        # from the number of the step, so that no state of a scheduler has to be saved
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss, None if skipped else norm, num_targets

    def _validate(self, valid_batches: Sequence[Batch]) -> None:
        self.losses = {
            name: validation_loss(self.net, valid_batches, arch, self.distributed)
            for name, arch in self.validated.items()
        }
        if not all(math.isfinite(loss) for loss in self.losses.values()):
            raise self._diverged(f"validation losses {self.losses}")

    def _state(self) -> dict[str, Any]:
        return {
            "inputs_sha256": self.job.inputs_sha256,
            "step": self.step,
            "seconds": self.seconds,
            # a finished run that is called again returns them without validating
            "losses": self.losses,
            # a resumed run goes on in the precision it began with, on whichever machine
            "trial": self.trial and self.trial.model_dump(),
            "model": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        if state.get("inputs_sha256") != self.job.inputs_sha256:
            raise StaleInputError(
                f"{self.job.state_path} was made from other data or another configuration than "
                f"those at hand; {_AGAIN}"
            )
        try:
            self.net.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.scaler.is_enabled():
                self.scaler.load_state_dict(state["scaler"])
            if (trial := state.get("trial")) is not None:
                self.trial = ComputeModeTrial.model_validate(trial)
            self.step = int(state["step"])
            self.seconds = float(state["seconds"])
            self.losses = {str(name): float(loss) for name, loss in state["losses"].items()}
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            raise StaleInputError(
                f"{self.job.state_path} does not fit this network ({error}); {_AGAIN}"
            ) from error

    def _diverged(self, what: str) -> MosdeployError:
        return MosdeployError(
            f"training diverged at step {self.step}: {what}, at a learning rate of up to "
            f"{self.config.learning_rate:g} after {self.config.warmup_steps} steps; "
            f"{self.job.remedy}, delete {self.job.state_path} and run the same command again"
        )


def try_modes(gradient: Gradient, batches: Batches) -> ComputeModeTrial:
    """Try all modes on the first step of a training, in this process alone."""
    # one batch an architecture: more of them take as many times longer in any mode
    config = gradient.config.model_copy(update={"grad_accum_steps": 1})

    def add_up(mode: ComputeMode) -> object:
        context = mode.within(gradient.context)
        trial = replace(gradient, config=config, context=context, distributed=SINGLE_PROCESS)
        # the same step each time: kernels of bf16 are compiled for each shape of a product, and a
        # training soon meets the same shapes again
        return trial.add_up(batches, 1)

    return fastest({mode: partial(add_up, mode) for mode in COMPUTE_MODES})


class EagerAdam(torch.optim.Adam):
    """PyTorch's Adam without the wrappers by which `torch.compile` knows its methods."""

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)


def make_optimizer(net: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba, 2015); with `weight_decay` AdamW (Loshchilov & Hutter, 2019), whose decay
    is apart from the gradient.
    """
    lr = config.learning_rate
    if not config.weight_decay:
        return EagerAdam(net.parameters(), lr=lr, betas=ADAM_BETAS, fused=True)
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for name, parameter in net.named_parameters():
        # the biases of experts are matrices too, (m, O)
        is_vector = parameter.ndim < 2 or name.endswith("bias")
        (vectors if is_vector else matrices).append(parameter)
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return EagerAdam(groups, lr=lr, betas=ADAM_BETAS, fused=True, decoupled_weight_decay=True)


class SaveClock:
    """Tells when a state is due: at the steps that are asked for, and after some time
    without one.
    """

    def __init__(self) -> None:
        self._saved_at = time.monotonic()
        self._period_s = PERIOD_S

    def are_due(self, asked: bool) -> bool:
        """Whether a state is to be saved now."""
        return asked or time.monotonic() - self._saved_at >= self._period_s

    def save(self, path: Path, state: dict[str, Any]) -> None:
        """Save one; how long that takes says how soon the next may come."""
        start = time.monotonic()
        save_training_state(path, state)
        self._saved_at = time.monotonic()
        self._period_s = max(PERIOD_S, (self._saved_at - start) / MAX_SHARE)


@torch.no_grad()
def shrink_and_perturb(net: nn.Module, fresh: nn.Module, inherited_share: float) -> None:
    """Replace each matrix, in place, by so much of itself and the rest of a fresh one (Ash & Adams,
    NeurIPS 2020).
    """
    drawn = dict(fresh.named_parameters())
    for name, weight in net.named_parameters():
        if weight.dim() > 1:
            weight.copy_(torch.lerp(drawn[name].to(weight), weight, inherited_share))


def validation_loss(
    model: Supernet | Subnet,
    batches: Sequence[Batch],
    arch: ArchConfig | None = None,
    distributed: DistributedContext = SINGLE_PROCESS,
) -> float:
    """Mean negative log-likelihood of the targets, in nats a target; no label smoothing, no
    dropout. Each rank computes its share of the batches.
    """
    if not batches or isinstance(model, Supernet) != (arch is not None):
        raise ValueError(
            "validation_loss needs batches, and an architecture with a Supernet and only with it"
        )
    num_targets = sum(batch.num_targets for batch in batches)
    check_has_targets(num_targets)
    # sums, not means: the ranks' shares have different numbers of targets, and some have no batch
    share = distributed.share(batches)
    nats = _sum_of_losses(model, share, arch) if share else 0.0
    return distributed.total(nats) / num_targets


@torch.no_grad()
def _sum_of_losses(
    model: Supernet | Subnet, batches: Sequence[Batch], arch: ArchConfig | None
) -> float:
    was_training = model.training
    device = next(model.parameters()).device
    model.eval()
    weights = None
    if isinstance(model, Supernet) and arch is not None:
        weights = model.generate(arch, router_dropout=False)  # once for all batches
    # float32 losses of batches are added up in float64: one number over many thousand targets
    total = torch.zeros((), dtype=torch.float64, device=device)
    for part in batches:
        batch = part.to(device)
        inputs = batch.inputs()
        logits = model(inputs, arch, weights) if isinstance(model, Supernet) else model(*inputs)
        # sums, divided at the end: a mean of means would weigh a small batch like a large one;
        # without autocast, so that losses do not depend on the precision of the training
        total += batch.loss(logits)
    model.train(was_training)
    return total.item()


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Learning rate of a step (from 1): linear warm-up, then one cosine or a line to zero, the
    inverse square root, or no change.
    """
    peak = config.learning_rate
    warmup = config.warmup_steps
    if step <= warmup:
        return peak * step / warmup
    if config.schedule == "constant":
        return peak
    if config.schedule == "inverse_sqrt":
        # proportional to step ** -0.5 (Vaswani et al., 2017), and without a jump at the end of the
        # warm-up
        return peak * math.sqrt(max(warmup, 1) / step)
    # + 1, so that the rate of the last step is not zero
    share = (step - warmup) / (config.steps - warmup + 1)
    if config.schedule == "linear":
        return peak * (1 - share)
    return peak * 0.5 * (1 + math.cos(math.pi * share))  # half a cosine
