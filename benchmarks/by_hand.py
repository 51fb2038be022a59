"""Whether a subnet that was searched for and trained on is better than the small Transformer that
one would pick and train by hand for the same compute.

    python benchmarks/by_hand.py --data ../shared/data/corpus/en-de --dir runs/by-hand --json
    python benchmarks/by_hand.py --catalog --dir runs/by-hand-catalog --json

For five latency limits on this machine, all with the compute of one limit: the time of
--supernet-steps of a supernet and of --finetune-steps of that architecture by hand whose steps take
longest. What trains faster has more steps:

- by hand: of four uniform architectures that keep the limit as measured, the best on validation
  pairs, trained from scratch with all of it;
- by hand, choice included: the best of the same ones, which share it;
- ours: K limits (`--ks`) put their compute together. A supernet has `--supernets` steps of it; the
  best subnet of each limit has its part of the rest, from --inherited-share of its weights. That
  of one limit is of what keeps it (--whole: of all nets); its steps count as those of one of all;
- HAT's way: the winner for as many steps from scratch;
- ours, taught: as ours, with the largest subnet as teacher, whose training comes on top.

Compute is counted in steps, each weighed by its time in short trials that take turns, which a quiet
machine should run: delete DIR/seed-*/costs to have them measured again, and cells of which others
come out. Core-hours are CPU time, of a training that was killed only what came after. Where other
programs run, --predicted takes the winners by their predicted latencies. Everything is a cell or a
verb that resumes: a killed run goes on with the same command. Two seeds may run at once, and so may
ways by hand and ours, once limits.json is there; a last call with all puts the table together.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from statistics import median

import numpy as np
from by_hand_limits import PLACES, Limits, choose_limits, run_options
from by_hand_report import (
    BY_HAND,
    Cell,
    Cost,
    Outcome,
    Seconds,
    picture,
    row_of,
    table,
)
from provenance import provenance, result_path
from walk_cells import check_options, judged, kept, step_seconds, write_run_file

import mosdeploy
from mosdeploy.data.batches import Batches, ordered_batches
from mosdeploy.recipes import read_recipe
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run
from mosdeploy.spaces.translation import TranslationArch
from mosdeploy.storage import atomic_write, write_record

HERE = Path(__file__).parent
CATALOG = "jupyterlab-language-pack-fr-FR"
PACKAGES = ("torch", "onnxruntime", "numpy", "sacrebleu", CATALOG)
TAUGHT = "ours, taught"
WAYS = (*BY_HAND, "ours", "HAT", TAUGHT)
TRIAL_STEPS = 12
TRIALS = 7
STEPS_TOLERANCE = 0.02
"""By which a cell may differ from what its costs, which may be measured anew, say."""
UNMEASURED = 0.97
"""Of a limit that a winner must keep as predicted, where it is not measured."""


@dataclass(frozen=True)
class Walk:
    """All trainings of one seed."""

    options: argparse.Namespace
    seed: int

    @property
    def folder(self) -> Path:
        """The run folder of those by hand, and of trials."""
        folder: Path = self.options.dir / f"seed-{self.seed}"
        return folder

    @cached_property
    def run(self) -> mosdeploy.RunFolder:
        """That folder, with a short supernet, as no subnet is trained without one."""
        run = self.open(self.folder, self.options.supernet_steps)
        run.train()
        return run

    def open(self, folder: Path, supernet_steps: int) -> mosdeploy.RunFolder:
        """A run folder, with the profile that all share."""
        changes = run_options(self.options, self.seed, supernet_steps)
        write_run_file(folder, read_recipe("tiny"), changes)
        source = self.options.dir / "profile" / "predictors"
        if not (folder / "predictors").exists():
            shutil.copytree(source, folder / "predictors")
        return mosdeploy.open_run(folder)

    def by_hand(
        self, way: str, limit_ms: float, arch: TranslationArch, compute: float, share: int = 1
    ) -> Cell:
        """One training from scratch with that part of the compute, unless it is finished."""
        part = "" if share == 1 else f"-{share}"
        name = f"{way.replace(' ', '-')}-{limit_ms:.2f}-{arch.key}{part}"
        steps = round(compute * self.supernet_cost(arch)) // share
        path = self.folder / "cells" / f"{name}.json"
        return self.cell(path, way, limit_ms, 1, self.run, arch, steps)

    def compute(self, archs: Sequence[TranslationArch]) -> float:
        """What the limit that these keep may cost, in steps of the supernet."""
        slowest = min(self.supernet_cost(arch) for arch in archs)
        steps: float = self.options.supernet_steps + self.options.finetune_steps / slowest
        return steps

    def ours(
        self, limit_ms: float, compute: float, num_limits: int, supernet_steps: int
    ) -> list[Cell]:
        """The winner of a supernet that K limits share: from inherited weights, from scratch, and
        taught.
        """
        run, supernet_s = self.supernet(limit_ms, num_limits, supernet_steps)
        arch = self.winner(run, limit_ms)

        def steps_of(arch: TranslationArch) -> int:
            return round((compute - supernet_steps / num_limits) * self.supernet_cost(arch))

        found = []
        for way in [way for way in WAYS[len(BY_HAND) :] if way in self.options.ways]:
            path = run.root / "cells" / f"{way.replace(' ', '-')}-{limit_ms:.2f}.json"
            chosen, shared_s = run, supernet_s
            if way == TAUGHT:
                chosen, teacher_s = self.taught(run)
                shared_s += teacher_s
            cell = self.cell(path, way, limit_ms, num_limits, chosen, arch, steps_of(arch))
            seconds = cell.seconds + shared_s / num_limits
            found.append(cell.model_copy(update={"seconds": seconds}))
        return found

    def supernet(
        self, limit_ms: float, num_limits: int, supernet_steps: int
    ) -> tuple[mosdeploy.RunFolder, float]:
        """A trained supernet and its CPU seconds: for one limit of what keeps it, else of all."""
        name = f"supernet-{num_limits}-{self.seed}"
        limit = None if num_limits > 1 or self.options.whole else f"{limit_ms:.4f}ms"
        name += f"-{limit_ms:.2f}" if limit else ""
        run = self.open(self.options.dir / name, supernet_steps)

        def train() -> Seconds:
            start = cpu_seconds()
            run.train(limit, device="local" if limit else None)
            return Seconds(seconds=cpu_seconds() - start)

        return run, kept(run.root / "supernet-seconds.json", Seconds, train).seconds

    def cell(
        self,
        path: Path,
        way: str,
        limit_ms: float,
        num_limits: int,
        run: mosdeploy.RunFolder,
        arch: TranslationArch,
        steps: int,
    ) -> Cell:
        """One training, unless it is finished."""

        def train() -> Cell:
            chosen = (run.root / "archs" / f"{arch.key}.json").absolute()
            atomic_write(chosen, arch.model_dump_json())
            scratch = way in (*BY_HAND, "HAT")
            start = cpu_seconds()
            card = run.finetune(str(chosen), steps=steps, from_scratch=scratch)
            return Cell(
                way=way,
                seed=self.seed,
                limit_ms=limit_ms,
                num_limits=num_limits,
                steps=steps,
                seconds=cpu_seconds() - start,
                scores=judged(run.root, str(chosen), card.weights),
            )

        cell = kept(path, Cell, train)
        if abs(cell.steps - steps) > STEPS_TOLERANCE * steps:
            raise SystemExit(f"{path} is of {cell.steps} steps and not of {steps}: delete it")
        print(cell.model_dump_json(), file=sys.stderr, flush=True)
        return cell

    def winner(self, run: mosdeploy.RunFolder, limit_ms: float) -> TranslationArch:
        """The best subnet within a limit; found once."""

        def search() -> TranslationArch:
            measure = not self.options.predicted
            limit = f"{limit_ms if measure else UNMEASURED * limit_ms:.4f}ms"
            found = run.search(limit, device="local", verify=measure).winner.arch
            assert isinstance(found, TranslationArch)
            return found

        return kept(run.root / "winners" / f"{limit_ms:.2f}.json", TranslationArch, search)

    def supernet_cost(self, arch: TranslationArch) -> float:
        """Time of a step of the supernet over one of an architecture alone: the median of trials
        that take turns, measured once, so that a killed training resumes with as many steps.
        """
        path = self.folder / "costs" / f"{arch.key}.json"
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
            nets = (state.family.build_supernet(*_fresh(state)), state.subnet(arch))
            supernet_s, alone_s = (step_seconds(net, config, batches, valid) for net in nets)
            ratios.append(supernet_s / alone_s)
        return Cost(ratio=float(median(ratios)))

    def taught(self, run: mosdeploy.RunFolder) -> tuple[mosdeploy.RunFolder, float]:
        """A copy of a run folder in which the largest subnet teaches; CPU seconds of that."""
        folder = run.root.with_name(f"{run.root.name}-taught")
        others = ("cells", "winners", "archs", "subnets")
        _copy(run.root, folder, others, run.root, {"teacher": "largest"})
        taught = mosdeploy.open_run(folder)

        def teach() -> Seconds:
            start = cpu_seconds()
            taught.finetune("largest")
            return Seconds(seconds=cpu_seconds() - start)

        return taught, kept(folder / "teacher-seconds.json", Seconds, teach).seconds

    def cells(self, limits: Limits) -> list[Cell]:
        """All trainings of this seed."""
        found = []
        picked = zip(limits.limits_ms, limits.by_hand, strict=True)
        for limit_ms, archs in list(picked)[: self.options.limits]:
            compute = self.compute(archs)
            if set(WAYS[len(BY_HAND) :]) & set(self.options.ways):
                for num_limits, steps in zip(self.options.ks, self.options.supernets, strict=True):
                    found += self.ours(limit_ms, compute, num_limits, steps)
            if BY_HAND[0] in self.options.ways:
                whole = [self.by_hand(BY_HAND[0], limit_ms, arch, compute) for arch in archs]
                found.append(whole[_best(whole)])
            if BY_HAND[1] in self.options.ways:
                parts = [
                    self.by_hand(BY_HAND[1], limit_ms, arch, compute, len(archs)) for arch in archs
                ]
                seconds = sum(cell.seconds for cell in parts)
                found.append(parts[_best(parts)].model_copy(update={"seconds": seconds}))
        return found


def cpu_seconds() -> float:
    """What this process took, and those of its processes that ended."""
    return sum(os.times()[:4])


def _copy(
    source: Path, folder: Path, ignored: Sequence[str], written: Path, finetune: dict[str, object]
) -> None:
    """Copy a run folder, unless it was; its run file is that of another, with a new [finetune]."""
    if not folder.exists():
        copy = folder.with_name(f".{folder.name}")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns(*ignored, "mosdeploy.toml"))
        write_run_file(copy, (written / "mosdeploy.toml").read_text(), {"finetune": finetune})
        copy.rename(folder)


def _best(cells: Sequence[Cell]) -> int:
    """The place of the best on validation pairs."""
    return int(np.argmax([cell.scores.metrics["valid greedy BLEU"] for cell in cells]))


def _fresh(state: TrainedRun) -> tuple[str, int, str]:
    config = state.config
    space = config.space.model_dump_json()
    return space, state.card.vocab_size, config.supernet.model_dump_json()


def main() -> None:
    """Make the cells that are missing, print the table, keep JSON and picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="a parallel corpus, SOURCE-TARGET")
    source.add_argument("--catalog", action="store_true", help="the demo's catalog")
    parser.add_argument("--dir", type=Path, required=True, help="everything is kept here")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--ks", type=int, nargs="+", default=[1, 4])
    parser.add_argument(
        "--supernets", type=int, nargs="+", default=[200, 4000], help="steps for each of --ks"
    )
    parser.add_argument("--limits", type=int, default=len(PLACES), help="how many, lowest first")
    parser.add_argument("--supernet-steps", type=int, default=200)
    parser.add_argument("--finetune-steps", type=int, default=2400)
    parser.add_argument("--inherited-share", type=float, default=0.4, help="[finetune]")
    parser.add_argument("--dropout", type=float, default=0.1, help="[supernet], of all trainings")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--predicted", action="store_true", help="measure the profile alone")
    parser.add_argument("--whole", action="store_true", help="for one limit too, of all nets")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=[*BY_HAND, "ours", "HAT"])
    parser.add_argument("--json", action="store_true", help="keep results and picture")
    parser.add_argument("--label", default="", help="ends the name of what is kept; no picture")
    options = parser.parse_args()
    check_options(options.dir, predicted=options.predicted)
    limits = kept(options.dir / "limits.json", Limits, partial(choose_limits, options))
    walks = [Walk(options, seed) for seed in options.seeds]
    cells = [cell for walk in walks for cell in walk.cells(limits)]
    outcome = Outcome(
        **provenance(PACKAGES),
        rows=tuple(row_of(cell, options.threads) for cell in cells),
    )
    print(table(outcome))
    if options.json:
        name = "by_hand-catalog" if options.catalog else f"by_hand-{options.data.name}"
        write_record(result_path(name, options.label), outcome)
        if not options.label:
            picture(outcome).save(HERE.parent / "docs" / "images" / f"{name}.svg")


if __name__ == "__main__":
    main()
