"""Run folders that a benchmark walks through with the commands' own functions, and how it judges
the subnets that come out.

In: a run file and what to change in it. Out: folders, one JSON file for each finished cell, and
scores. A killed benchmark goes on with the same command: each verb resumes, and a finished cell is
read, not made again.
"""

import json
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np
import tomli_w

from mosdeploy.config.device import load_profile
from mosdeploy.config.sections import TrainingConfig
from mosdeploy.data.batches import Batch, Batches, ordered_batches
from mosdeploy.pipeline.measuring.collect import CollectRequest, collect
from mosdeploy.record import Record
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.subnets import select_subnet
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run
from mosdeploy.spaces.genes import ArchConfig
from mosdeploy.storage import atomic_write, read_record, write_record
from mosdeploy.supernet.elastic import Subnet
from mosdeploy.supernet.supernet import Supernet
from mosdeploy.training.trainer import TrainingJob, train
from mosdeploy.training.validation import validation_loss
from mosdeploy.workspace import CONFIG_NAME

R = TypeVar("R", bound=Record)
Options = Mapping[str, Mapping[str, Any]]


class Scores(Record):
    """One subnet: parameters, validation loss (nats a token), and metrics by `SPLIT SETUP METRIC`,
    as in `test greedy BLEU`.
    """

    arch_key: str
    num_parameters: int
    loss: float
    metrics: dict[str, float]


def kept(path: Path, model: type[R], make: Callable[[], R]) -> R:
    """The record of a cell, made now if it does not stand there yet."""
    if not path.exists():
        write_record(path, make())
    return read_record(model, path, "this script")


def check_options(folder: Path, **options: object) -> None:
    """Note in a folder the options that its cells depend on and their names do not tell.

    Raises
    ------
    SystemExit
        If others are noted: cells that were made so would be taken for what is asked for now.
    """
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
    """Write a folder's run file, with options put in; one that stands there says the same.

    Raises
    ------
    SystemExit
        If it says something else: what was made so would be taken for what is asked for now.
    """
    path = folder / CONFIG_NAME
    data = tomllib.loads(text)
    for section, changes in options.items():
        data[section] = {**data.get(section, {}), **changes}
    text = tomli_w.dumps(data)
    if not path.exists():
        atomic_write(path, text)
    before, now = (set(words.splitlines()) for words in (path.read_text(), text))
    if before != now:
        listed = "\n".join([*(f"- {x}" for x in before - now), *(f"+ {x}" for x in now - before)])
        raise SystemExit(
            f"{path} was written for other options or by another version; take another --dir, or "
            f"delete the folder. It says -, and is asked for +:\n{listed}"
        )


def judged(folder: Path, arch: str, weights: str, beams: Iterable[int] = (1,)) -> Scores:
    """Scores of one subnet of a run folder, on validation and on test pairs.

    Parameters
    ----------
    arch
        `winner`, `largest`, `smallest` or a JSON file.
    weights
        `inherited`, `finetuned` or `scratch`.
    """
    state = trained_run(open_run(folder))
    return scores(state, state.arch(arch), weights, beams)


def scores(
    state: TrainedRun, arch: ArchConfig, weights: str, beams: Iterable[int | None]
) -> Scores:
    """The same for a run that is open; a beam is None where the family has none."""
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
    """Median latencies on this machine by the architectures' keys, under the workload of a run
    folder; what stands in the file is not measured again.
    """
    unique = list({arch.key: arch for arch in archs}.values())
    request = CollectRequest(load_profile("local", folder), unique, path)
    measured = collect(Context(open_run(folder)), request).dataset.measured
    timings = {arch.key: measured[arch.key].measurement.total for arch in unique}
    return {key: timing.median_ms for key, timing in timings.items() if timing is not None}


def markdown(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def step_seconds(
    net: Supernet | Subnet, config: TrainingConfig, batches: Batches, valid: Sequence[Batch]
) -> float:
    """Median time of a step, but for the last one, which validates and saves."""
    ends = list[float]()
    with tempfile.TemporaryDirectory() as folder:
        job = TrainingJob(config, Path(folder) / "state.pt", Path(folder) / "log.jsonl", "a trial")
        train(net, batches, valid, job, lambda *told: ends.append(time.monotonic()))
    return float(median(np.diff(ends[:-1])))
