"""Whether a subnet that was searched for beats the small Transformer that a person would train.

    python benchmarks/by_hand.py --data ../shared/data/corpus/en-de --dir runs/by-hand --json
    python benchmarks/by_hand.py --catalog --dir runs/by-hand-catalog --json

For some latency limits on this machine, each way has the compute of one limit: the time of
--supernet-steps of a supernet, and of --finetune-steps of the net by hand whose steps take longest.
A net that trains faster has more steps.

- by hand: of up to four uniform architectures that keep the limit as measured, the best on
  validation pairs, from scratch; only its own compute counts;
- ours: K limits (--ks) put their compute together. A supernet has --supernets steps of it; the best
  subnet of each limit has its part of the rest, from --inherited-share of its weights;
- HAT: the same winner from scratch, for as many steps;
- ours, taught: the largest subnet teaches; its training comes on top.

Compute is counted in steps, each weighed by its time in short trials that take turns. Core-hours
are CPU time. Where other programs run, --predicted takes winners by their predicted latencies.
A killed run goes on with the same command.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from statistics import mean, median

from by_hand_limits import PLACES, Limits, choose_limits, run_options
from results import add_result_options, finish
from walk_cells import (
    Scores,
    Seconds,
    check_options,
    judged,
    kept,
    step_seconds,
    write_run_file,
)

import mosdeploy
from mosdeploy.data.batches import Batches, ordered_batches
from mosdeploy.recipes import read_recipe
from mosdeploy.record import Record
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import trained_run
from mosdeploy.spaces.translation import TranslationArch
from mosdeploy.storage import atomic_write

PACKAGES = ("torch", "onnxruntime", "sacrebleu", "jupyterlab-language-pack-fr-FR")
BY_HAND, OURS, HAT, TAUGHT = WAYS = ("by hand", "ours", "HAT", "ours, taught")
METRICS = ("test greedy BLEU", "test greedy chrF", "valid greedy BLEU")
TRIAL_STEPS = 12
TRIALS = 7
STEPS_TOLERANCE = 0.02
"""By which the steps of a cell may differ from what costs that were measured anew say."""
UNMEASURED = 0.97
"""Share of a limit that a winner must keep as predicted, where it is not measured."""


class Cost(Record):
    """Time of a step of the supernet over one of an architecture alone."""

    ratio: float


class Cell(Record):
    """One training, and its CPU seconds with its part of what limits share."""

    way: str
    num_limits: int
    steps: int
    seconds: float
    scores: Scores


@dataclass(frozen=True)
class Walk:
    """All trainings of one seed."""

    options: argparse.Namespace
    seed: int

    @cached_property
    def run(self) -> mosdeploy.RunFolder:
        """The run folder of nets by hand and of trials, with a short supernet."""
        run = self.open(self.options.dir / f"seed-{self.seed}", self.options.supernet_steps)
        run.train()
        return run

    def open(self, folder: Path, supernet_steps: int) -> mosdeploy.RunFolder:
        """Open a run folder with the profile that all share."""
        changes = run_options(self.options, self.seed, supernet_steps)
        write_run_file(folder, read_recipe("tiny"), changes)
        if not (folder / "predictors").exists():
            shutil.copytree(self.options.dir / "profile" / "predictors", folder / "predictors")
        return mosdeploy.open_run(folder)

    def cells(self, limits: Limits) -> list[Cell]:
        """Train what is missing, for each limit."""
        found = []
        for limit_ms, archs in list(zip(limits.limits_ms, limits.by_hand, strict=True))[
            : self.options.limits
        ]:
            slowest = min(self.supernet_cost(arch) for arch in archs)
            compute = self.options.supernet_steps + self.options.finetune_steps / slowest
            for num_limits, steps in zip(self.options.ks, self.options.supernets, strict=True):
                found += self.searched(limit_ms, compute, num_limits, steps)
            if BY_HAND in self.options.ways:
                nets = [self.by_hand(limit_ms, arch, compute) for arch in archs]
                found.append(max(nets, key=lambda cell: cell.scores.metrics["valid greedy BLEU"]))
        return found

    def by_hand(self, limit_ms: float, arch: TranslationArch, compute: float) -> Cell:
        """Train one net from scratch with the compute of a limit."""
        steps = round(compute * self.supernet_cost(arch))
        name = f"{BY_HAND.replace(' ', '-')}-{limit_ms:.2f}-{arch.key}"
        return self.cell(self.run, name, BY_HAND, 1, arch, steps)

    def searched(
        self, limit_ms: float, compute: float, num_limits: int, supernet_steps: int
    ) -> list[Cell]:
        """Train the winner of a supernet that K limits share, in each way."""
        ways = [way for way in self.options.ways if way != BY_HAND]
        if not ways:
            return []
        run = self.open(self.options.dir / f"supernet-{num_limits}-{self.seed}", supernet_steps)
        supernet_s = timed(run.root / "supernet-seconds.json", run.train)
        arch = self.winner(run, limit_ms)
        steps = round((compute - supernet_steps / num_limits) * self.supernet_cost(arch))
        found = []
        for way in ways:
            chosen, shared_s = run, supernet_s
            if way == TAUGHT:
                chosen, teacher_s = taught(run)
                shared_s += teacher_s
            name = f"{way.replace(' ', '-')}-{limit_ms:.2f}"
            cell = self.cell(chosen, name, way, num_limits, arch, steps)
            seconds = cell.seconds + shared_s / num_limits
            found.append(cell.model_copy(update={"seconds": seconds}))
        return found

    def cell(
        self,
        run: mosdeploy.RunFolder,
        name: str,
        way: str,
        num_limits: int,
        arch: TranslationArch,
        steps: int,
    ) -> Cell:
        """Train one net, unless it is trained."""
        path = run.root / "cells" / f"{name}.json"

        def train() -> Cell:
            chosen = (run.root / "archs" / f"{arch.key}.json").absolute()
            atomic_write(chosen, arch.model_dump_json())
            start = cpu_seconds()
            card = run.finetune(str(chosen), steps=steps, from_scratch=way in (BY_HAND, HAT))
            seconds = cpu_seconds() - start
            found = judged(run.root, str(chosen), card.weights)
            return Cell(way=way, num_limits=num_limits, steps=steps, seconds=seconds, scores=found)

        cell = kept(path, Cell, train)
        if abs(cell.steps - steps) > STEPS_TOLERANCE * steps:
            raise SystemExit(f"{path} is of {cell.steps} steps and not of {steps}: delete it")
        print(cell.model_dump_json(), file=sys.stderr, flush=True)
        return cell

    def winner(self, run: mosdeploy.RunFolder, limit_ms: float) -> TranslationArch:
        """Find the best subnet within a limit, once."""

        def search() -> TranslationArch:
            measure = not self.options.predicted
            limit = f"{limit_ms if measure else UNMEASURED * limit_ms:.4f}ms"
            found = run.search(limit, device="local", verify=measure).winner.arch
            assert isinstance(found, TranslationArch)
            return found

        return kept(run.root / "winners" / f"{limit_ms:.2f}.json", TranslationArch, search)

    def supernet_cost(self, arch: TranslationArch) -> float:
        """Time a step of the supernet over one of an architecture alone, once."""
        path = self.run.root / "costs" / f"{arch.key}.json"
        return kept(path, Cost, partial(self._supernet_cost, arch)).ratio

    def _supernet_cost(self, arch: TranslationArch) -> Cost:
        state = trained_run(open_run(self.run.root))
        config = state.config.training.model_copy(
            update={"steps": TRIAL_STEPS, "validate_every": TRIAL_STEPS}
        )
        batches = Batches(state.tokenized(state.data.train), config.tokens_per_batch, self.seed)
        valid = ordered_batches(state.tokenized(state.data.valid[:8]))
        ratios = []
        for _ in range(TRIALS):
            whole = state.family.fresh_supernet(
                state.config.space, state.card.vocab_size, state.config.supernet, 0
            )
            supernet_s, alone_s = (
                step_seconds(net, config, batches, valid) for net in (whole, state.subnet(arch))
            )
            ratios.append(supernet_s / alone_s)
        return Cost(ratio=float(median(ratios)))


def taught(run: mosdeploy.RunFolder) -> tuple[mosdeploy.RunFolder, float]:
    """Copy a run folder in which the largest subnet teaches; return CPU seconds of that too."""
    folder = run.root.with_name(f"{run.root.name}-taught")
    if not folder.exists():
        copy = folder.with_name(f".{folder.name}")
        shutil.rmtree(copy, ignore_errors=True)
        ignored = shutil.ignore_patterns("cells", "winners", "archs", "subnets", "mosdeploy.toml")
        shutil.copytree(run.root, copy, ignore=ignored)
        lessons = {"finetune": {"teacher": "largest"}}
        write_run_file(copy, (run.root / "mosdeploy.toml").read_text(), lessons)
        copy.rename(folder)
    found = mosdeploy.open_run(folder)

    return found, timed(folder / "teacher-seconds.json", lambda: found.finetune("largest"))


def timed(path: Path, work: Callable[[], object]) -> float:
    """Do work once; return its CPU seconds."""

    def do() -> Seconds:
        start = cpu_seconds()
        work()
        return Seconds(seconds=cpu_seconds() - start)

    return kept(path, Seconds, do).seconds


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its processes that ended."""
    return sum(os.times()[:4])


def rows_of(cells: Sequence[Cell], threads: int) -> list[list[str]]:
    """Return means over limits and seeds, a row for each way and number of limits."""
    groups = dict[tuple[int, str], list[Cell]]()
    for cell in cells:
        groups.setdefault((cell.num_limits, cell.way), []).append(cell)
    rows = []
    for (num_limits, way), group in sorted(groups.items()):
        metrics = [f"{mean(cell.scores.metrics[name] for cell in group):.1f}" for name in METRICS]
        core_hours = mean(cell.seconds for cell in group) * threads / 3600
        rows.append([way, str(num_limits), *metrics, f"{core_hours:.3f}"])
    return rows


def main() -> None:
    """Train what is missing, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="a parallel corpus, SOURCE-TARGET")
    source.add_argument("--catalog", action="store_true", help="the demo's catalog")
    add("--dir", type=Path, required=True, help="everything is kept here")
    add("--seeds", type=int, nargs="+", default=[1, 2])
    add("--ks", type=int, nargs="+", default=[1, 4])
    add("--supernets", type=int, nargs="+", default=[200, 4000], help="steps for each of --ks")
    add("--limits", type=int, default=len(PLACES), help="how many, lowest first")
    add("--supernet-steps", type=int, default=200)
    add("--finetune-steps", type=int, default=2400)
    add("--inherited-share", type=float, default=0.4, help="[finetune]")
    add("--dropout", type=float, default=0.1, help="[supernet], of all trainings")
    add("--threads", type=int, default=1)
    add("--predicted", action="store_true", help="measure the profile alone")
    add("--ways", nargs="+", choices=WAYS, default=[BY_HAND, OURS, HAT])
    add_result_options(parser)
    options = parser.parse_args()
    check_options(options.dir, predicted=options.predicted)
    limits = kept(options.dir / "limits.json", Limits, partial(choose_limits, options))
    cells = [cell for seed in options.seeds for cell in Walk(options, seed).cells(limits)]
    header = ("way", "limits", "test BLEU", "test chrF", "validation BLEU", "core-hours")
    name = "catalog" if options.catalog else options.data.name
    finish(options, PACKAGES, header, rows_of(cells, options.threads), options.seeds, name)


if __name__ == "__main__":
    main()
