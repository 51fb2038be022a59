import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import training_fixtures
from supernet_fixtures import TOY_SPACE, TOY_VOCAB_SIZE, toy_supernet
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
from mosdeploy.families.translation.decoding import translate
from mosdeploy.supernet.supernet import Supernet, extract
from mosdeploy.training.log import LogLine
from mosdeploy.training.trainer import TrainingJob, check_inputs, train
from mosdeploy.training.validation import validation_loss

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
def test_a_killed_run_goes_on_as_if_undisturbed(
    net: Callable[..., Supernet], run: Run, tmp_path: Path
) -> None:
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


def test_a_finished_run_returns_at_once(
    net: Callable[..., Supernet], run: Run, tmp_path: Path
) -> None:
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


def test_a_state_made_from_something_else_is_refused(
    net: Callable[..., Supernet], run: Run, tmp_path: Path
) -> None:
    run(net(), BRIEF)
    check_inputs(tmp_path / "state.pt", "x")
    check_inputs(tmp_path / "no.pt", "y")
    for resume in (
        lambda: run(net(), BRIEF, inputs_sha256="y"),
        lambda: check_inputs(tmp_path / "state.pt", "y"),
    ):
        with pytest.raises(StaleInputError, match=r"state\.pt was made from other data"):
            resume()
    (tmp_path / "state.pt").write_bytes((tmp_path / "state.pt").read_bytes()[:-500])
    with pytest.raises(StaleInputError, match=r"state\.pt is corrupt"):
        run(net(), BRIEF)


def test_a_torn_log_line_goes_and_a_corrupt_one_is_named(
    net: Callable[..., Supernet], run: Run, tmp_path: Path
) -> None:
    run(net(), BRIEF)
    log = log_of(tmp_path)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 1')
    run(net(), BRIEF)
    assert log_of(tmp_path) == log
    (tmp_path / "log.jsonl").write_text("no json\n")
    with pytest.raises(StaleInputError, match=r"log\.jsonl is corrupt"):
        run(net(), BRIEF)


def test_a_bound_that_is_never_reached_changes_nothing(
    net: Callable[..., Supernet], run: Run
) -> None:
    nets = []
    for clip_norm in (0.0, 1e9):
        nets.append(net(NO_DROPOUT))
        run(nets[-1], CONFIG.model_copy(update={"steps": 1, "clip_norm": clip_norm}))
    assert all(
        torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True)
    )


def test_log_and_progress(
    net: Callable[..., Supernet], run: Run, pairs: TranslationDataset, tmp_path: Path
) -> None:
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


def test_a_training_that_pauses_tells_how_far_the_pause_is(tmp_path: Path) -> None:
    dataset = random_rows(60, TOY_VOCAB_SIZE)
    batches = Batches(dataset, 200, seed=1)
    job = TrainingJob(CONFIG, tmp_path / "state.pt", tmp_path / "log.jsonl", "x", until=2)
    seen: list[tuple[int, float]] = []
    train(
        toy_supernet(), batches, ordered_batches(dataset, 1000), job, lambda _, *x: seen.append(x)
    )
    assert [total for total, _ in seen] == [2, 2]
    assert seen[-1][1] == 0.0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_events_for_tensorboard_change_nothing_else(
    net: Callable[..., Supernet], run: Run, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    run(net(), BRIEF, folder=tmp_path / "plain")
    run(net(), BRIEF.model_copy(update={"log": "tensorboard"}), folder=tmp_path / "drawn")
    plain, drawn = (without_times(log_of(tmp_path / name)) for name in ("plain", "drawn"))
    assert plain == drawn
    assert list((tmp_path / "drawn" / "tensorboard").iterdir())
    assert not (tmp_path / "plain" / "tensorboard").exists()


def test_training_learns_to_translate(
    net: Callable[..., Supernet], run: Run, pairs: TranslationDataset
) -> None:
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
def test_a_subnet_alone_learns_what_is_left_to_learn(
    net: Callable[..., Supernet], run: Run, tmp_path: Path
) -> None:
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


@pytest.mark.parametrize("routing", ["none", "layer"])
def test_other_routings_train(net: Callable[..., Supernet], run: Run, routing: str) -> None:
    assert math.isfinite(run(net(SupernetConfig(routing=routing)), BRIEF).losses["largest_loss"])  # type: ignore[arg-type]


def test_the_global_generator_is_left_alone(net: Callable[..., Supernet], run: Run) -> None:
    fresh = net()
    before = torch.get_rng_state()
    run(fresh, BRIEF)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_diverged_run_says_what_to_do(
    net: Callable[..., Supernet], run: Run, tmp_path: Path
) -> None:
    broken = net()
    with torch.no_grad():
        next(broken.parameters()).fill_(math.nan)
    with pytest.raises(
        MosdeployError, match=r"diverged at step 1: loss nan.*lower training\.learning_rate"
    ):
        run(broken)
    assert not (tmp_path / "state.pt").exists()


def test_a_full_memory_of_a_gpu_says_what_to_do(
    net: Callable[..., Supernet], run: Run, tmp_path: Path
) -> None:
    fresh = net()
    steps: list[int] = []

    def fill(line: LogLine, last_step: int, left_s: float) -> None:
        steps.append(line.step)
        if line.step == 2:
            told = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of 8 GiB."
            raise torch.OutOfMemoryError(told)

    with pytest.raises(
        MosdeployError,
        match=r"Tried to allocate 2\.00 GiB\); training\.tokens_per_batch is \d+: lower it",
    ):
        run(fresh, BRIEF, progress=fill)
    assert steps == [1, 2]


def test_a_network_of_no_family_trains(tmp_path: Path) -> None:
    dataset = random_rows(60, TOY_VOCAB_SIZE)
    batches = Batches(dataset, 200, seed=1)
    valid = ordered_batches(dataset, 1000)
    net = toy_supernet(dropout=0.0, router_dropout=0.0)
    before = validation_loss(net, valid, TOY_SPACE.largest)
    config = BRIEF.model_copy(update={"steps": 40, "learning_rate": 2e-2, "validate_every": 40})
    job = TrainingJob(config, tmp_path / "state.pt", tmp_path / "log.jsonl", "x")
    summary = train(net, batches, valid, job)
    assert summary.losses["largest_loss"] < 0.5 * before
