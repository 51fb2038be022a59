"""The trainings of encoder_quality.py: one task and seed in a run folder, a cell for each net.

In: options, a task, a seed, budgets. Out: one JSON file for each finished training, and rows.
"""

import argparse
import csv
import json
import shutil
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import tomli_w
from encoder_quality_hand import SpacedTraining, random_arch
from encoder_quality_report import (
    OURS,
    RANDOM,
    SLICES,
    SPACED,
    Cell,
    Row,
    Shared,
    best_cell,
    metric_of,
    metrics_of,
)
from mosdeploy.pipeline.subnet_teaching import teaching
from mosdeploy.pipeline.subnet_training import SubnetTraining
from walk_cells import kept, measured_ms, scores, write_run_file

import mosdeploy
from mosdeploy.cli.progress import PROGRESS
from mosdeploy.config.encoder import EncoderRunConfig
from mosdeploy.families.encoder.scoring import METRIC_NAMES
from mosdeploy.families.encoder.teacher import TeacherCard
from mosdeploy.pipeline.finetune import FinetuneOptions, alone
from mosdeploy.recipes import read_recipe
from mosdeploy.record import Record
from mosdeploy.records import WeightOrigin
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run
from mosdeploy.spaces.encoder import EncoderArch, EncoderSpace
from mosdeploy.spaces.genes import ArchConfig
from mosdeploy.storage import read_record
from mosdeploy.training.distributed import SINGLE_PROCESS

RECIPE = "minilm-l6"
REVIEWS = "rotten-tomatoes"
"""The task of the recipe itself."""
STEPS = {"modules": (1200, 300, 600), "tagging": (900, 300, 600), REVIEWS: (380, 200, 600)}
"""Of the teacher, of the supernet, and of each net alone."""
STARTS = {OURS: "finetuned", RANDOM: "finetuned", SPACED: "spaced"}
"""What a way's nets start from, if it is not the teacher's slices."""


def _modules(data: Path) -> dict[str, Any]:
    """Which of nine modules a sentence of LibreOffice's help is about."""
    with (data / "modules" / "train.csv").open(newline="") as file:
        labels = sorted({row["label"] for row in csv.DictReader(file)})
    return {"kind": "classification", "labels": labels, **_files(data / "modules", "csv")}


def _tagging(data: Path) -> dict[str, Any]:
    """User interface elements, code and keys in such sentences."""
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
    """A latency limit, its share of the teacher's latency, and the nets by hand that keep it as
    measured, by way.
    """

    share: float
    limit_ms: float
    by_hand: dict[str, EncoderArch]


class Found(Record):
    """The winner of a search, and the CPU seconds that it took."""

    arch: EncoderArch
    seconds: float


@dataclass(frozen=True)
class Walk:
    """All trainings of one task and seed."""

    options: argparse.Namespace
    task: str
    seed: int

    @property
    def root(self) -> Path:
        """Of the task."""
        root: Path = self.options.dir.absolute() / self.task
        return root

    @property
    def folder(self) -> Path:
        """The run folder of the seed."""
        return self.root / f"seed-{self.seed}"

    @cached_property
    def run(self) -> mosdeploy.RunFolder:
        """The folder with a trained supernet, and the profile that all seeds share."""
        write_task(self.folder, self.options, self.task, self.seed)
        run = mosdeploy.open_run(self.folder)
        run.train()
        if not (self.folder / "predictors").exists():
            shutil.copytree(self.root / "profile" / "predictors", self.folder / "predictors")
        return run

    @cached_property
    def state(self) -> TrainedRun:
        """The folder, open; each verb resumes, so this may be asked first."""
        _ = self.run
        return trained_run(open_run(self.folder))

    @property
    def metric(self) -> str:
        """The metric that counts."""
        config = self.state.config
        assert isinstance(config, EncoderRunConfig)
        return METRIC_NAMES[config.task.kind]

    def shared(self) -> Shared:
        """Train what all budgets share."""

        def make() -> Shared:
            start = time.process_time()
            _ = self.run
            seconds = time.process_time() - start
            card_path = self.folder / "teacher" / "teacher.json"
            card = read_record(TeacherCard, card_path, "this script")
            share = card.train_seconds / (card.train_seconds + self.state.card.train_seconds)
            return Shared(
                teacher_s=seconds * share,
                supernet_s=seconds * (1 - share),
                teacher=scores(self.state, self.state.config.space.largest, "teacher", (None,)),
            )

        return kept(self.folder / "shared.json", Shared, make)

    def winner(self, limit_ms: float) -> Found:
        """The best subnet within a limit, as measured; found once."""

        def search() -> Found:
            start = time.process_time()
            limit = f"{limit_ms:.4f}ms"
            measure = not self.options.predicted
            arch = self.run.search(limit, device="local", verify=measure).winner.arch
            assert isinstance(arch, EncoderArch)
            return Found(arch=arch, seconds=time.process_time() - start)

        return kept(self.folder / "winners" / f"{limit_ms:.4f}.json", Found, search)

    def nets(self, budget: Budget) -> dict[str, EncoderArch]:
        """The architecture of each way."""
        space = self.state.config.space
        assert isinstance(space, EncoderSpace)
        predictor = self.run.predictor("local")
        winner = self.winner(budget.limit_ms).arch
        drawn = random_arch(space, predictor, budget.limit_ms, self.seed)
        return {**budget.by_hand, RANDOM: drawn, SLICES: winner, OURS: winner}

    def cell(self, start: str, arch: EncoderArch, rate: float) -> Cell:
        """One training, unless it is finished."""
        name = f"{start}-{rate:g}-{self.steps}-{arch.key}.json"
        make = partial(self._train, start, arch, rate)
        cell = kept(self.folder / "cells" / name, Cell, make)
        print(cell.model_dump_json(), file=sys.stderr, flush=True)
        return cell

    @property
    def steps(self) -> int:
        """Of each net alone."""
        return steps_of(self.options, self.task)[2]

    def _train(self, start: str, arch: EncoderArch, rate: float) -> Cell:
        state = self.state
        weights: WeightOrigin = "finetuned" if start == "finetuned" else "from-teacher"
        training = alone(state.config.training, state.config.finetune, FinetuneOptions())
        training = training.model_copy(update={"learning_rate": rate})
        kind = SpacedTraining if start == "spaced" else SubnetTraining
        one = kind(state, arch, weights, training, teaching(state, arch, PROGRESS))
        start_s = time.process_time()
        one.run(SINGLE_PROCESS, PROGRESS)
        return Cell(
            start=start,
            seed=self.seed,
            arch=arch,
            learning_rate=rate,
            steps=self.steps,
            seconds=time.process_time() - start_s,
            scores=scores(state, arch, weights, (None,)),
        )

    def row(self, way: str, budget: Budget, arch: EncoderArch, rates: Sequence[float]) -> Row:
        """The best of the learning rates."""
        start = STARTS.get(way, "from-teacher")
        cells = [self.cell(start, arch, rate) for rate in rates]
        best = best_cell(cells, self.metric)
        seconds = sum(cell.seconds for cell in cells)
        if way in (OURS, RANDOM):
            seconds += self.shared().supernet_s / len(self.options.budgets)
        if way == OURS:
            seconds += self.winner(budget.limit_ms).seconds
        return Row(
            way=way,
            seed=self.seed,
            share=budget.share,
            limit_ms=budget.limit_ms,
            arch_key=arch.key,
            architecture=str(arch),
            num_parameters=best.scores.num_parameters,
            learning_rate=best.learning_rate,
            valid=metric_of(best.scores, "valid", self.metric),
            loss=best.scores.loss,
            test=metrics_of(best.scores, "test"),
            core_seconds=seconds,
        )


def latencies_ms(
    options: argparse.Namespace, folder: Path, archs: Sequence[ArchConfig], path: Path
) -> dict[str, float]:
    """Latencies by the architectures' keys: measured into a file, or with --predicted by the
    predictor of a run folder.
    """
    if not options.predicted:
        return measured_ms(folder, archs, path)
    predictor = mosdeploy.open_run(folder).predictor("local")
    times_ms = predictor.predict(predictor.space.genes(archs)).tolist()
    return dict(zip((arch.key for arch in archs), times_ms, strict=True))


def steps_of(options: argparse.Namespace, task: str) -> tuple[int, int, int]:
    """Of the teacher, of the supernet, and of each net alone."""
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
        "search": {"finalist_steps": options.finalist_steps},
    }
    write_run_file(folder, tomli_w.dumps(config), changes)
