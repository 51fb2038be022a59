import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import training_fixtures
from supernet_fixtures import TOY_SPACE, TOY_VOCAB_SIZE, toy_supernet
from torch import nn
from training_fixtures import (
    BRIEF,
    CONFIG,
    NO_DROPOUT,
    Run,
    interrupt_at,
    log_of,
    random_rows,
    without_times,
)

from mosdeploy.config.sections import SupernetConfig
from mosdeploy.data.batches import Batches, ordered_batches
from mosdeploy.errors import MosdeployError, StaleInputError
from mosdeploy.families.translation.dataset import TranslationDataset
from mosdeploy.families.translation.scoring import translate
from mosdeploy.supernet.mos import MoSLinear
from mosdeploy.supernet.supernet import Supernet, extract
from mosdeploy.training import trainer
from mosdeploy.training.device import ComputeModeTrial
from mosdeploy.training.log import LogLine
from mosdeploy.training.trainer import (
    MAX_SHARE,
    PERIOD_S,
    SaveClock,
    learning_rate,
    make_optimizer,
    shrink_and_perturb,
    validation_loss,
)

Net = Callable[..., Supernet]

KILLED_RUN = """
import json, os, signal, sys
from pathlib import Path
import torch
from training_fixtures import repeating_pairs
from mosdeploy.config.sections import SupernetConfig, TrainingConfig
from mosdeploy.data.batches import Batches, ordered_batches
from mosdeploy.families.translation.elastic import ElasticTranslation
from mosdeploy.record import parse
from mosdeploy.spaces.translation import TranslationSpace
from mosdeploy.supernet.supernet import Supernet
from mosdeploy.training.trainer import TrainingJob, train

job = json.load(sys.stdin)
config = parse(TrainingConfig, job["config"], "job")
space = parse(TranslationSpace, job["space"], "job")
pairs = repeating_pairs()
torch.manual_seed(0)
elastic = ElasticTranslation(space, job["vocab_size"], SupernetConfig())
net = Supernet(space, elastic, SupernetConfig())

def kill(line, *numbers):
    if line.step == job["last_step"]:
        os.kill(os.getpid(), signal.SIGKILL)

folder = Path(job["folder"])
batches = Batches(pairs, config.tokens_per_batch, config.seed)
training = TrainingJob(config, folder / "state.pt", folder / "log.jsonl", "x")
train(net, batches, ordered_batches(pairs, 1000), training, kill)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_undisturbed(net: Net, run: Run, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    killed = tmp_path / "killed"
    undisturbed = net()
    resumed = net()
    summary = run(undisturbed, folder=whole)
    with pytest.raises(KeyboardInterrupt):
        run(net(), folder=killed, progress=interrupt_at(2))  # before the first checkpoint
    job = {
        "config": CONFIG.model_dump(mode="json"),
        "space": resumed.space.model_dump(mode="json"),
        "vocab_size": resumed.vocab_size,
        "folder": str(killed),
        "last_step": 7,  # one past the second checkpoint
    }
    helpers = Path(training_fixtures.__file__).parent
    child = subprocess.run(
        [sys.executable, "-c", KILLED_RUN],
        input=json.dumps(job).encode(),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(helpers), *sys.path])},
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    assert [line["step"] for line in log_of(killed)] == list(range(1, 8))
    made: list[int] = []
    again = run(resumed, folder=killed, progress=lambda line, *_: made.append(line.step))
    assert made[0] == 7
    assert without_times(log_of(killed)) == without_times(log_of(whole))
    for name, value in undisturbed.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert again.losses == summary.losses


def test_a_finished_run_returns_at_once(net: Net, run: Run, tmp_path: Path) -> None:
    trained = net()
    loaded = net()
    summary = run(trained, BRIEF)
    log = log_of(tmp_path)
    seen: list[object] = []
    again = run(loaded, BRIEF, progress=lambda *numbers: seen.append(numbers))
    assert again == summary
    assert (log_of(tmp_path), seen) == (log, [])
    assert all(
        torch.equal(a, b) for a, b in zip(trained.parameters(), loaded.parameters(), strict=True)
    )
    assert not loaded.training


def test_a_state_made_from_something_else_is_refused(net: Net, run: Run, tmp_path: Path) -> None:
    run(net(), BRIEF)
    with pytest.raises(StaleInputError, match=r"state\.pt was made from other data"):
        run(net(), BRIEF, inputs_sha256="y")
    (tmp_path / "state.pt").write_bytes((tmp_path / "state.pt").read_bytes()[:-500])
    with pytest.raises(StaleInputError, match=r"state\.pt is corrupt"):
        run(net(), BRIEF)


def test_log_and_progress(net: Net, run: Run, pairs: TranslationDataset, tmp_path: Path) -> None:
    seen: list[tuple[LogLine, int, float]] = []
    trained = net()
    summary = run(trained, progress=lambda *numbers: seen.append(numbers))
    lines = log_of(tmp_path)
    assert [line["step"] for line in lines] == list(range(1, 10))
    assert [line["step"] for line in lines if line["largest_loss"] is not None] == [4, 8, 9]
    assert [(line.model_dump(), total) for line, total, _ in seen] == [(line, 9) for line in lines]
    assert seen[-1][2] == 0.0
    assert all(line.targets_per_s > 0 for line, _, _ in seen)
    assert [line["seconds"] for line in lines] == sorted(line["seconds"] for line in lines)
    assert lines[-1]["smallest_loss"] == summary.losses["smallest_loss"]
    batches = ordered_batches(pairs, 1000)
    smallest = trained.space.smallest
    assert validation_loss(trained, batches, smallest) == pytest.approx(
        summary.losses["smallest_loss"], rel=1e-5
    )


def test_training_learns_to_translate(net: Net, run: Run, pairs: TranslationDataset) -> None:
    trained = net(NO_DROPOUT)
    changes = {
        "steps": 80,
        "learning_rate": 2e-2,
        "warmup_steps": 10,
        "validate_every": 80,
        "checkpoint_every": 80,
    }
    summary = run(trained, BRIEF.model_copy(update=changes))
    assert summary.losses["largest_loss"] < 0.6  # knowing nothing is log 16 = 2.8
    assert summary.losses["smallest_loss"] < 1.2
    subnet = extract(trained, trained.space.largest)
    sources = [pairs.sources[i].tolist() for i in range(len(pairs))]
    wanted = [pairs.targets[i].tolist() for i in range(len(pairs))]
    for beam in (1, 3):
        answers = translate(subnet, sources, beam, max_steps=10, length_penalty=0.6)
        right = sum(answer == want for answer, want in zip(answers, wanted, strict=True))
        assert right > 20  # of 60; an untrained network has none


@pytest.mark.slow
def test_a_subnet_alone_learns_what_is_left_to_learn(net: Net, run: Run, tmp_path: Path) -> None:
    supernet = net(NO_DROPOUT)
    run(supernet, BRIEF.model_copy(update={"steps": 20, "warmup_steps": 2, "learning_rate": 1e-2}))
    inherited, frozen = (extract(supernet, supernet.space.largest) for _ in range(2))
    summary = run(inherited, BRIEF.model_copy(update={"steps": 20}), folder=tmp_path / "alone")
    assert list(summary.losses) == ["subnet_loss"]
    lines = log_of(tmp_path / "alone")
    before = log_of(tmp_path)[-1]["largest_loss"]
    assert summary.losses["subnet_loss"] == lines[-1]["subnet_loss"] < before
    assert lines[-1]["largest_loss"] is None
    assert not torch.equal(inherited.embed.weight, frozen.embed.weight)


def test_the_global_generator_is_left_alone(net: Net, run: Run) -> None:
    fresh = net()
    before = torch.get_rng_state()
    run(fresh, BRIEF)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_diverged_run_says_what_to_do(net: Net, run: Run, tmp_path: Path) -> None:
    broken = net()
    with torch.no_grad():
        next(broken.parameters()).fill_(math.nan)
    with pytest.raises(MosdeployError, match=r"diverged at step 1.*lower training\.learning_rate"):
        run(broken)
    assert not (tmp_path / "state.pt").exists()


def test_a_full_memory_of_a_gpu_says_what_to_do(net: Net, run: Run, tmp_path: Path) -> None:
    fresh = net()
    steps: list[int] = []

    def fill(line: LogLine, last_step: int, left_s: float) -> None:
        steps.append(line.step)
        if line.step == 2:
            told = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of 8 GiB."
            raise torch.OutOfMemoryError(told)

    with pytest.raises(
        MosdeployError, match=r"allocate 2\.00 GiB.*tokens_per_batch is \d+: lower it"
    ):
        run(fresh, BRIEF, progress=fill)
    assert steps == [1, 2]


# -- in other precisions, and with activations computed twice


@pytest.mark.parametrize("amp", ["bf16", pytest.param("fp16", marks=pytest.mark.slow)])
def test_narrow_types_stay_near_full_precision(
    net: Net, run: Run, tmp_path: Path, amp: str
) -> None:
    for name in ("none", amp):
        config = CONFIG.model_copy(update={"steps": 3, "amp": name})
        run(net(NO_DROPOUT), config, folder=tmp_path / name)
    full, half = (log_of(tmp_path / name) for name in ("none", amp))
    for key, rel in (("loss", 0.02), ("gradient_norm", 0.1)):
        expected = pytest.approx([line[key] for line in full], rel=rel)
        assert [line[key] for line in half] == expected
    assert half[0]["loss"] != full[0]["loss"]


@pytest.mark.slow
def test_fp16_leaves_out_what_overflows_also_when_resumed(
    net: Net, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaler = torch.amp.GradScaler
    steep = partial(scaler, init_scale=2.0**30)
    monkeypatch.setattr(torch.amp, "GradScaler", steep)
    config = CONFIG.model_copy(update={"steps": 20, "amp": "fp16"})
    run(net(NO_DROPOUT), config, folder=tmp_path / "whole")
    norms = [line["gradient_norm"] for line in log_of(tmp_path / "whole")]
    assert norms[0] is None
    assert norms[-1] is not None
    with pytest.raises(KeyboardInterrupt):
        run(net(NO_DROPOUT), config, folder=tmp_path / "killed", progress=interrupt_at(7))
    run(net(NO_DROPOUT), config, folder=tmp_path / "killed")
    assert without_times(log_of(tmp_path / "killed")) == without_times(log_of(tmp_path / "whole"))


@pytest.mark.slow
def test_checkpointing_changes_nothing_but_the_memory(
    net: Net, run: Run, pairs: TranslationDataset, tmp_path: Path
) -> None:
    kept_bytes = {}
    batch = Batches(pairs, 400, seed=1)[0]
    for is_on in (False, True):
        changes = {"steps": 4, "amp": "bf16", "activation_checkpointing": is_on}
        config = CONFIG.model_copy(update=changes)
        run(net(SupernetConfig(dropout=0.3)), config, folder=tmp_path / str(is_on))
        supernet = net().train()
        held: list[int] = []

        def keep(tensor: torch.Tensor, held: list[int] = held) -> torch.Tensor:
            held.append(tensor.nbytes)
            return tensor

        largest = supernet.space.largest
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            supernet(batch.inputs(), largest, activation_checkpointing=is_on)
        kept_bytes[is_on] = sum(held)
    assert without_times(log_of(tmp_path / "True")) == without_times(log_of(tmp_path / "False"))
    assert kept_bytes[True] < 0.7 * kept_bytes[False]


AUTO = CONFIG.model_copy(update={"amp": "auto"})


def chosen(amp: str) -> ComputeModeTrial:
    """As a training that is told a precision computes in it."""
    return ComputeModeTrial(amp=amp, is_unfused=amp == "bf16", full_ms=20.0, bf16_ms=10.0)


@pytest.mark.slow
@pytest.mark.parametrize("amp", ["none", "bf16"])
def test_auto_trains_as_what_it_chose(
    amp: str,
    net: Net,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A trial leaves no trace in the weights: the log is that of a training told so."""
    real = trainer.try_modes

    def rigged(*arguments: object) -> ComputeModeTrial:
        assert real(*arguments).full_ms > 0  # type: ignore[arg-type]
        return chosen(amp)

    monkeypatch.setattr(trainer, "try_modes", rigged)
    told = CONFIG.model_copy(update={"amp": amp})
    run(net(), told, folder=tmp_path / "told")
    run(net(), AUTO, folder=tmp_path / "auto")
    assert without_times(log_of(tmp_path / "auto")) == without_times(log_of(tmp_path / "told"))


@pytest.mark.slow
def test_a_resumed_run_keeps_its_precision(
    net: Net, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "try_modes", lambda *_: chosen("bf16"))
    run(net(), AUTO, folder=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(net(), AUTO, folder=tmp_path / "killed", progress=interrupt_at(5))
    # the machine that goes on would choose otherwise
    monkeypatch.setattr(trainer, "try_modes", lambda *_: chosen("none"))
    run(net(), AUTO, folder=tmp_path / "killed")
    assert without_times(log_of(tmp_path / "killed")) == without_times(log_of(tmp_path / "whole"))


# -- when a state is saved; what decays; where a subnet starts


def test_a_state_is_due_when_asked_for_and_after_some_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(trainer.time, "monotonic", lambda: now[0])
    saves = SaveClock()
    assert saves.are_due(asked=True)
    assert not saves.are_due(asked=False)
    now[0] += PERIOD_S
    assert saves.are_due(asked=False)
    saves.save(tmp_path / "state.pt", {"step": 7})
    assert (tmp_path / "state.pt").exists()
    assert not saves.are_due(asked=False)

    def slow(*_: object) -> None:
        now[0] += 6.0

    # one that takes long is saved less often
    monkeypatch.setattr(trainer, "save_training_state", slow)
    saves.save(tmp_path / "state.pt", {})
    now[0] += 6.0 / MAX_SHARE - 1.0
    assert not saves.are_due(asked=False)
    now[0] += 1.0
    assert saves.are_due(asked=False)


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_matrices_alone_decay_by_rate_times_decay(weight_decay: float) -> None:
    """A step of rate 0.1 without gradients, of parameters that were 1."""
    net = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), MoSLinear(2, 4, num_experts=2))
    for parameter in net.parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    config = CONFIG.model_copy(update={"learning_rate": 0.1, "weight_decay": weight_decay})
    make_optimizer(net, config).step()
    for name, found in net.named_parameters():
        expected = 1 - 0.1 * weight_decay if name in ("0.weight", "2.weight") else 1.0
        torch.testing.assert_close(found.detach(), torch.full_like(found, expected))


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_matrices_are_mixed_with_fresh_ones_and_vectors_stay(share: float) -> None:
    inherited, fresh = (nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)) for _ in range(2))
    for parameter in inherited.parameters():
        nn.init.constant_(parameter, 10.0)
    shrink_and_perturb(inherited, fresh, share)
    named = dict(inherited.named_parameters())
    matrix = named.pop("0.weight")
    torch.testing.assert_close(matrix, 10.0 * share + (1 - share) * fresh[0].weight)
    assert all(bool((vector == 10.0).all()) for vector in named.values())
    assert matrix.requires_grad


def test_padding_does_not_count() -> None:
    subnet = extract(toy_supernet(), TOY_SPACE.largest)
    losses = [validation_loss(subnet, ordered_batches(DATASET, size)) for size in (30, 90, 1000)]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


DATASET = random_rows(20, TOY_VOCAB_SIZE)


def test_it_is_the_mean_of_the_losses_of_examples() -> None:
    subnet = extract(toy_supernet(), TOY_SPACE.largest)
    batch = DATASET.batch(np.arange(len(DATASET)))
    with torch.no_grad():
        nats = batch.losses(subnet(*batch.inputs())).sum().item()
    assert validation_loss(subnet, [batch]) == pytest.approx(nats / batch.num_targets, rel=1e-6)


def test_learning_rates_by_hand() -> None:
    cosine = CONFIG.model_copy(update={"steps": 11, "warmup_steps": 4, "learning_rate": 0.8})
    assert [learning_rate(cosine, step) for step in (1, 2, 4)] == pytest.approx([0.2, 0.4, 0.8])
    assert learning_rate(cosine, 8) == pytest.approx(0.4)
    assert learning_rate(cosine, 11) == pytest.approx(0.4 * (1 + math.cos(math.pi * 7 / 8)))
    line = cosine.model_copy(update={"schedule": "linear"})
    assert [learning_rate(line, step) for step in (2, 4, 8, 11)] == pytest.approx(
        [0.4, 0.8, 0.4, 0.1]
    )
    root = cosine.model_copy(update={"schedule": "inverse_sqrt"})
    assert [learning_rate(root, step) for step in (2, 4, 16)] == pytest.approx([0.4, 0.8, 0.4])
    cold = root.model_copy(update={"warmup_steps": 0})
    assert [learning_rate(cold, step) for step in (1, 4)] == pytest.approx([0.8, 0.4])
    level = cosine.model_copy(update={"schedule": "constant"})
    assert [learning_rate(level, step) for step in (2, 4, 11)] == pytest.approx([0.4, 0.8, 0.8])


@pytest.mark.parametrize("schedule", ["cosine", "inverse_sqrt", "linear", "constant"])
@pytest.mark.parametrize("warmup", [0, 1, 9, 20])
def test_learning_rates_are_positive_and_at_most_the_peak(schedule: str, warmup: int) -> None:
    config = CONFIG.model_copy(update={"schedule": schedule, "warmup_steps": warmup})
    rates = [learning_rate(config, step) for step in range(1, config.steps + 1)]
    assert all(0 < rate <= config.learning_rate for rate in rates)
