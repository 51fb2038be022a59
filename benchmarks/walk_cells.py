"""Run folders of a benchmark, its finished trainings ("cells", a JSON file each), and scores.

A killed benchmark goes on with the same command: verbs resume, and finished cells are read.
"""

import json
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any, TypeVar

import numpy as np
import tomlkit
from results import spread
from scipy.stats import kendalltau

from mosdeploy.cli.printing import PROGRESS
from mosdeploy.config.device import load_profile
from mosdeploy.config.sections import TrainingConfig
from mosdeploy.data.batches import Batch, Batches, ordered_batches
from mosdeploy.pipeline.finetune import FinetuneOptions, alone
from mosdeploy.pipeline.measuring.collect import CollectRequest, collect
from mosdeploy.pipeline.training.subnet_training import SubnetTraining, teacher_card
from mosdeploy.record import Record
from mosdeploy.records import SubnetCard, WeightOrigin
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.subnets import select_subnet
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run
from mosdeploy.spaces.genes import ArchConfig
from mosdeploy.storage import atomic_write, read_record, write_record
from mosdeploy.supernet.elastic import Subnet
from mosdeploy.supernet.supernet import Supernet
from mosdeploy.training.distributed import SINGLE_PROCESS
from mosdeploy.training.trainer import TrainingJob, train, validation_loss
from mosdeploy.workspace import CONFIG_NAME

R = TypeVar("R", bound=Record)
Options = Mapping[str, Mapping[str, Any]]
ALONE = "alone"
ARCH_SEED = 2026


class Scores(Record):
    """One subnet: validation loss in nats, metrics by `SPLIT SETUP METRIC`: `test greedy BLEU`."""

    arch_key: str
    num_parameters: int
    loss: float
    metrics: dict[str, float]


class Seconds(Record):
    """CPU time."""

    seconds: float


class Losses(Record):
    """Validation losses by the names of the nets."""

    losses: dict[str, float]


# -- folders


def kept(path: Path, model: type[R], make: Callable[[], R]) -> R:
    """Return the record of a cell; make it if it is missing."""
    if not path.exists():
        write_record(path, make())
    return read_record(model, path, "this script")


def check_options(folder: Path, **options: object) -> None:
    """Note the options that cells of a folder depend on; exit if others are noted."""
    path = folder / "options.json"
    if not path.exists() and folder.exists() and any(folder.iterdir()):
        told = ", ".join(f"{name} = {value}" for name, value in options.items())
        print(f"{folder}: what stands there is taken as made with {told}", file=sys.stderr)
    noted = json.loads(path.read_text()) if path.exists() else {}
    for name, value in options.items():
        if name in noted and noted[name] != json.loads(json.dumps(value)):
            raise SystemExit(
                f"{folder} has cells with {name} = {noted[name]}, and {value} is asked for; take "
                "another --dir, or delete the folder"
            )
    atomic_write(path, json.dumps({**noted, **options}))


def write_run_file(folder: Path, text: str, options: Options) -> None:
    """Write a run file with options put in; exit if another one is there."""
    path = folder / CONFIG_NAME
    data = tomllib.loads(text)
    for section, changes in options.items():
        data[section] = {**data.get(section, {}), **changes}
    text = tomlkit.dumps(data)
    if not path.exists():
        atomic_write(path, text)
    before, now = (set(words.splitlines()) for words in (path.read_text(), text))
    if before != now:
        listed = "\n".join([*(f"- {x}" for x in before - now), *(f"+ {x}" for x in now - before)])
        raise SystemExit(
            f"{path} was written for other options or by another version; take another --dir, or "
            f"delete the folder. It says -, and is asked for +:\n{listed}"
        )


# -- scores


def judged(folder: Path, arch: str, weights: str, beams: Iterable[int] = (1,)) -> Scores:
    """Score one subnet of a run folder on validation and test pairs."""
    state = trained_run(open_run(folder))
    return scores(state, state.arch(arch), weights, beams)


def scores(
    state: TrainedRun, arch: ArchConfig, weights: str, beams: Iterable[int | None]
) -> Scores:
    """Score one subnet of an open run; a beam is None where the family has none."""
    chosen = select_subnet(state, arch, weights)
    valid = ordered_batches(state.validation_set(len(state.data.valid)))
    metrics = dict[str, float]()
    for split, examples in (("valid", state.data.valid), ("test", state.data.test)):
        for beam in beams:
            scored = state.scored(examples, state.config.workload.changed({"beam": beam}))
            found = scored.evaluate(chosen.subnet)
            metrics |= {f"{split} {scored.setup} {name}": found[name] for name in found}
    return Scores(
        arch_key=chosen.arch.key,
        num_parameters=state.spec.num_parameters(chosen.arch),
        loss=validation_loss(chosen.subnet, valid),
        metrics=metrics,
    )


def measured_ms(folder: Path, archs: Iterable[ArchConfig], path: Path) -> dict[str, float]:
    """Measure median latencies here, by the architectures' keys; the file keeps them."""
    unique = list({arch.key: arch for arch in archs}.values())
    request = CollectRequest(load_profile("local", folder), unique, path)
    measured = collect(Context(open_run(folder)), request).dataset.measured
    timings = {arch.key: measured[arch.key].measurement.total for arch in unique}
    return {key: timing.median_ms for key, timing in timings.items() if timing is not None}


# -- trainings


def train_alone(
    state: TrainedRun,
    arch: ArchConfig,
    start: WeightOrigin,
    kind: type[SubnetTraining] = SubnetTraining,
    **changes: object,
) -> SubnetCard:
    """Train one subnet from a start, with changed keys of [training]."""
    options = FinetuneOptions(from_scratch=start == "scratch")
    training = alone(state.config.training, state.config.finetune, options)
    training = training.model_copy(update=changes)
    one = kind(state, arch, start, training, teacher_card(state, arch))
    return one.run(SINGLE_PROCESS, PROGRESS)


def step_seconds(
    net: Supernet | Subnet, config: TrainingConfig, batches: Batches, valid: Sequence[Batch]
) -> float:
    """Time a median step, but for the last one, which validates and saves."""
    ends = list[float]()
    with tempfile.TemporaryDirectory() as folder:
        job = TrainingJob(config, Path(folder) / "state.pt", Path(folder) / "log.jsonl", "a trial")
        train(net, batches, valid, job, lambda *told: ends.append(time.monotonic()))
    return float(median(np.diff(ends[:-1])))


# -- inherited subnets beside nets trained alone


def fixed_nets(state: TrainedRun, count: int) -> dict[str, ArchConfig]:
    """Return the largest, the smallest and random architectures, the same for every seed."""
    space = state.config.space
    rng = np.random.default_rng(ARCH_SEED)
    drawn = {f"random {i + 1}": space.sample(rng) for i in range(count)}
    return {"largest": space.largest, "smallest": space.smallest, **drawn}


def inherited_losses(state: TrainedRun, count: int) -> dict[str, float]:
    """Return the losses of fixed nets with the weights of a supernet."""
    valid = ordered_batches(state.validation_set(len(state.data.valid)))

    def judge() -> Losses:
        nets = fixed_nets(state, count).items()
        return Losses(losses={name: validation_loss(state.subnet(x), valid) for name, x in nets})

    return kept(state.files.root / "cells" / f"inherited-{count}.json", Losses, judge).losses


def alone_losses(
    state: TrainedRun, count: int, start: WeightOrigin, **changes: object
) -> dict[str, float]:
    """Return the losses of the same nets, each trained alone."""
    nets = fixed_nets(state, count).items()
    return {name: train_alone(state, arch, start, **changes).loss for name, arch in nets}


def group_means(by_seed: Sequence[dict[str, float]], digits: int) -> list[str]:
    """Return mean losses of the largest, the smallest and the random nets over seeds."""
    names = list(by_seed[0])
    groups = (names[:1], names[1:2], names[2:])
    return [
        spread([mean(losses[name] for name in group) for losses in by_seed], digits)
        for group in groups
    ]


def mean_tau(first: Sequence[dict[str, float]], second: Sequence[dict[str, float]]) -> float:
    """Return Kendall's rank correlation of the nets' losses, the mean over seeds."""
    pairs = zip(first, second, strict=True)
    return mean(kendalltau(list(a.values()), list(b.values())).statistic for a, b in pairs)
