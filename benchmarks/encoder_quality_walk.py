"""The trainings of encoder_quality.py: one task and seed in a run folder, a cell for each net."""

import argparse
import csv
import json
import shutil
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import tomlkit
from encoder_quality_hand import SpacedTraining, random_arch
from walk_cells import Scores, kept, measured_ms, scores, train_alone, write_run_file

import mosdeploy
from mosdeploy.config.encoder import EncoderRunConfig
from mosdeploy.families.encoder.scoring import METRIC_NAMES
from mosdeploy.pipeline.training.subnet_training import SubnetTraining
from mosdeploy.recipes import read_recipe
from mosdeploy.record import Record
from mosdeploy.records import WeightOrigin
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run
from mosdeploy.spaces.encoder import EncoderArch, EncoderSpace
from mosdeploy.spaces.genes import ArchConfig

RECIPE = "minilm-l6"
REVIEWS = "rotten-tomatoes"
"""The task of the recipe itself."""
STEPS = {"modules": (1200, 300, 600), "tagging": (900, 300, 600), REVIEWS: (380, 200, 600)}
"""Of the teacher, of the supernet, and of each net alone."""
FIRST, SPACED = "first layers", "evenly spaced layers"
DEEP, LARGE = "narrower and deep", "narrower and large"
BY_HAND = (FIRST, SPACED, DEEP, LARGE)
OURS, SLICES, RANDOM = "ours", "ours, from the teacher's slices", "random"
STARTS = {OURS: "finetuned", RANDOM: "finetuned", SPACED: "spaced"}
"""Start of a way's nets, if it is not the teacher's slices."""


def add_folder_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that scripts on these tasks share."""
    parser.add_argument("--data", type=Path, required=True, help="folder of the tasks' data")
    parser.add_argument("--dir", type=Path, required=True, help="run folders are kept here")
    parser.add_argument("--amp", choices=["bf16", "none"], default="bf16", help="of all trainings")


def _modules(data: Path) -> dict[str, Any]:
    """Ask which of nine modules a sentence of LibreOffice's help is about."""
    with (data / "modules" / "train.csv").open(newline="") as file:
        labels = sorted({row["label"] for row in csv.DictReader(file)})
    return {"kind": "classification", "labels": labels, **_files(data / "modules", "csv")}


def _tagging(data: Path) -> dict[str, Any]:
    """Tag user interface elements, code and keys in such sentences."""
    with (data / "tagging" / "train.jsonl").open() as file:
        tags = {tag for line in file for tag in json.loads(line)["tags"]}
    labels = sorted({tag[2:] for tag in tags if tag != "O"})
    return {"kind": "tagging", "labels": labels, **_files(data / "tagging", "jsonl")}


def _files(folder: Path, suffix: str) -> dict[str, Any]:
    paths = {split: str(folder / f"{split}.{suffix}") for split in ("train", "valid", "test")}
    return {**paths, "max_tokens": 64}


TASKS: dict[str, Callable[[Path], dict[str, Any]]] = {"modules": _modules, "tagging": _tagging}
"""Sections `[task]` of the tasks that are not the recipe's."""


class Budget(Record):
    """A latency limit, its share of the teacher's latency, and the nets by hand that keep it."""

    share: float
    limit_ms: float
    by_hand: dict[str, EncoderArch]


class Cell(Record):
    """One training of one net from one start, which several ways and budgets may share."""

    start: str
    arch: EncoderArch
    learning_rate: float
    scores: Scores


class Row(Record):
    """One way at one budget: the learning rate that is best on validation."""

    way: str
    seed: int
    share: float
    learning_rate: float
    valid: float
    loss: float
    test: float


@dataclass(frozen=True)
class Walk:
    """All trainings of one task and seed."""

    options: argparse.Namespace
    task: str
    seed: int

    @property
    def folder(self) -> Path:
        """The run folder of the seed."""
        return Path(self.options.dir.absolute() / self.task / f"seed-{self.seed}")

    @cached_property
    def run(self) -> mosdeploy.RunFolder:
        """The folder with a trained supernet, and the profile that all seeds share."""
        write_task(self.folder, self.options, self.task, self.seed)
        run = mosdeploy.open_run(self.folder)
        run.train()
        if not (self.folder / "predictors").exists():
            shutil.copytree(
                self.folder.parent / "profile" / "predictors", self.folder / "predictors"
            )
        return run

    @cached_property
    def state(self) -> TrainedRun:
        """The folder, open and trained."""
        _ = self.run
        return trained_run(open_run(self.folder))

    @property
    def metric(self) -> str:
        """The metric that counts."""
        config = self.state.config
        assert isinstance(config, EncoderRunConfig)
        return METRIC_NAMES[config.task.kind]

    def metric_of(self, found: Scores, split: str) -> float:
        """Return the metric of a subnet on a split."""
        for key, value in found.metrics.items():
            first, _, _, name = key.split(" ", 3)  # SPLIT, NUMBER tokens, METRIC
            if (first, name) == (split, self.metric):
                return value
        raise KeyError(f"{split} {self.metric}")

    def teacher(self) -> float:
        """Score the teacher on test."""
        largest = self.state.config.space.largest
        make = partial(scores, self.state, largest, "teacher", (None,))
        return self.metric_of(kept(self.folder / "teacher-scores.json", Scores, make), "test")

    def winner(self, limit_ms: float) -> EncoderArch:
        """Find the best subnet within a limit, once."""

        def search() -> EncoderArch:
            measure = not self.options.predicted
            arch = self.run.search(f"{limit_ms:.4f}ms", device="local", verify=measure).winner.arch
            assert isinstance(arch, EncoderArch)
            return arch

        return kept(self.folder / "winners" / f"{limit_ms:.4f}.json", EncoderArch, search)

    def nets(self, budget: Budget) -> dict[str, EncoderArch]:
        """Return the architecture of each way."""
        space = self.state.config.space
        assert isinstance(space, EncoderSpace)
        winner = self.winner(budget.limit_ms)
        drawn = random_arch(space, self.run.predictor("local"), budget.limit_ms, self.seed)
        return {**budget.by_hand, RANDOM: drawn, SLICES: winner, OURS: winner}

    def cell(self, start: str, arch: EncoderArch, rate: float) -> Cell:
        """Train one net, unless it is trained."""
        name = f"{start}-{rate:g}-{steps_of(self.options, self.task)[2]}-{arch.key}.json"
        make = partial(self._train, start, arch, rate)
        cell = kept(self.folder / "cells" / name, Cell, make)
        print(cell.model_dump_json(), file=sys.stderr, flush=True)
        return cell

    def _train(self, start: str, arch: EncoderArch, rate: float) -> Cell:
        weights: WeightOrigin = "finetuned" if start == "finetuned" else "from-teacher"
        kind = SpacedTraining if start == "spaced" else SubnetTraining
        train_alone(self.state, arch, weights, kind, learning_rate=rate)
        found = scores(self.state, arch, weights, (None,))
        return Cell(start=start, arch=arch, learning_rate=rate, scores=found)

    def row(self, way: str, budget: Budget, arch: EncoderArch, rates: Sequence[float]) -> Row:
        """Train with each learning rate, and take the best on validation."""
        cells = [self.cell(STARTS.get(way, "from-teacher"), arch, rate) for rate in rates]
        best = max(cells, key=lambda x: (self.metric_of(x.scores, "valid"), -x.scores.loss))
        return Row(
            way=way,
            seed=self.seed,
            share=budget.share,
            learning_rate=best.learning_rate,
            valid=self.metric_of(best.scores, "valid"),
            loss=best.scores.loss,
            test=self.metric_of(best.scores, "test"),
        )


def latencies_ms(
    options: argparse.Namespace, folder: Path, archs: Sequence[ArchConfig], path: Path
) -> dict[str, float]:
    """Measure latencies by the architectures' keys, or predict them with --predicted."""
    if not options.predicted:
        return measured_ms(folder, archs, path)
    predictor = mosdeploy.open_run(folder).predictor("local")
    times_ms = predictor.predict(predictor.space.genes(archs)).tolist()
    return dict(zip((arch.key for arch in archs), times_ms, strict=True))


def steps_of(options: argparse.Namespace, task: str) -> tuple[int, int, int]:
    """Return the steps of the teacher, of the supernet, and of each net alone."""
    teacher, supernet, own = options.steps or STEPS[task]
    return teacher, supernet, own


def write_task(folder: Path, options: argparse.Namespace, task: str, seed: int) -> None:
    """Write a run file: the recipe, with another task and other steps."""
    teacher, supernet, own = steps_of(options, task)
    config: dict[str, Any] = tomllib.loads(read_recipe(RECIPE))
    if task in TASKS:
        config["task"] = TASKS[task](options.data.absolute())
    changes = {
        "teacher": {"steps": teacher},
        "training": {
            "steps": supernet,
            "warmup_steps": max(1, supernet // 10),
            "validate_every": max(1, supernet // 2),
            "seed": seed,
            "threads": 1,
            # a trial on a busy machine would choose otherwise for some nets
            "amp": options.amp,
        },
        "finetune": {"steps": own},
    }
    write_run_file(folder, tomlkit.dumps(config), changes)
