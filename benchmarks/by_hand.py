"""Whether a subnet that was searched for and trained on is better than the small Transformer that
one would pick and train by hand for the same compute.

    python benchmarks/by_hand.py --data ../shared/data/corpus/en-de --dir runs/by-hand --json
    python benchmarks/by_hand.py --catalog --dir runs/by-hand-catalog --json

For five latency limits on this machine:

- by hand: of four uniform architectures that keep the limit as measured, the best on validation
  pairs; trained from scratch with the compute of one finetuning and the K-th part of one supernet,
  which serves K limits or devices;
- by hand, choice included: the best of the same ones, which share that compute at K = 1;
- HAT's way: the winner of the search, trained from scratch for the steps of one finetuning;
- ours: the winner, trained on from its inherited weights for these steps;
- ours, one limit (`--one-limit`): a supernet of what keeps the limit alone, and its winner, trained
  on for what then is left of the compute of one by hand at K = 1;
- ours, taught (`--taught`): the same with the largest subnet as teacher, whose training and
  translations K limits share too.

Compute is counted in steps, each weighed by its time in short trials that take turns; core-hours
are CPU time, of a training that was killed only what came after. The best by
hand is chosen at K = 1, and trained again for the other K. Everything is a cell or a verb that
resumes: a killed run goes on with the same command, and two seeds may run at once, each with
`--seeds N`; a last call with both then puts the table together.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from statistics import median

import numpy as np
from by_hand_limited import OneLimit
from by_hand_limits import PLACES, Limits, choose_limits, run_options
from by_hand_report import (
    BY_HAND,
    CHOICE_INCLUDED,
    Cell,
    Outcome,
    Row,
    Shared,
    picture,
    rows_of,
    table,
)
from provenance import command, versions
from walk_cells import judged, kept, processor, step_seconds, write_run_file

import mosdeploy
from mosdeploy.data.batches import Batches, ordered_batches
from mosdeploy.pipeline.run import open_run
from mosdeploy.pipeline.token_files import VALIDATION_TOKENS
from mosdeploy.pipeline.trained_run import TrainedRun, trained_run
from mosdeploy.recipes import read_recipe
from mosdeploy.spaces.translation_arch import TranslationArch
from mosdeploy.storage import atomic_write, write_record

HERE = Path(__file__).parent
CATALOG = "jupyterlab-language-pack-fr-FR"
PACKAGES = ("mosdeploy", "torch", "onnxruntime", "numpy", "sacrebleu", CATALOG)
TRIAL_STEPS = 12
TRIALS = 3


@dataclass(frozen=True)
class Walk:
    """All trainings of one seed."""

    options: argparse.Namespace
    seed: int

    @property
    def folder(self) -> Path:
        """The run folder of ours, of HAT's way and of those by hand."""
        folder: Path = self.options.dir / f"seed-{self.seed}"
        return folder

    @cached_property
    def run(self) -> mosdeploy.RunFolder:
        """The folder, with a trained supernet and a profile, which all seeds share."""
        write_run_file(self.folder, read_recipe("tiny"), run_options(self.options, self.seed))
        run = mosdeploy.open_run(self.folder)
        run.train()
        source = self.options.dir / "profile" / "predictors"
        if not (self.folder / "predictors").exists():
            shutil.copytree(source, self.folder / "predictors")
        return run

    def cell(
        self, way: str, limit_ms: float, num_limits: int, arch: TranslationArch, share: int = 1
    ) -> Cell:
        """One training with that part of the compute, unless it is finished."""
        steps = f"{self.options.supernet_steps}+{self.options.finetune_steps}"
        part = "" if share == 1 else f"-{share}"
        name = f"{way.replace(' ', '-')}-{limit_ms:.2f}-{num_limits}-{steps}-{arch.key}{part}.json"
        make = partial(self._train, way, limit_ms, num_limits, arch, share)
        cell = kept(self.folder / "cells" / name, Cell, make)
        print(cell.model_dump_json(), file=sys.stderr, flush=True)
        return cell

    def _train(
        self, way: str, limit_ms: float, num_limits: int, arch: TranslationArch, share: int
    ) -> Cell:
        path = self.folder / "archs" / f"{arch.key}.json"
        atomic_write(path, arch.model_dump_json())
        steps = self.options.finetune_steps
        from_scratch = way in (*BY_HAND, "HAT")
        if way in BY_HAND:
            steps += round(self.options.supernet_steps * self.supernet_cost(arch) / num_limits)
        steps //= share
        taught = way == "ours, taught"
        run = mosdeploy.open_run(self.taught_folder) if taught else self.run
        start = time.process_time()
        card = run.finetune(str(path.absolute()), steps=steps, from_scratch=from_scratch)
        seconds = time.process_time() - start
        return Cell(
            way=way,
            seed=self.seed,
            limit_ms=limit_ms,
            num_limits=num_limits,
            steps=steps,
            seconds=seconds,
            scores=judged(run.root, str(path.absolute()), card.weights),
        )

    def one_limit(self, limit_ms: float, ours: Cell) -> Cell:
        """Ours of a supernet within the limit, for the compute of one by hand at K = 1."""
        step_s = ours.seconds / ours.steps
        cost = self.supernet_cost(self.winner(limit_ms))
        total_s = step_s * (self.options.finetune_steps + self.options.supernet_steps * cost)
        one = OneLimit(
            folder=self.options.dir / f"limit-{limit_ms:.2f}-{self.seed}",
            options=run_options(self.options, self.seed),
            predictors=self.options.dir / "profile" / "predictors",
            limit_ms=limit_ms,
            seed=self.seed,
        )
        path = self.folder / "cells" / f"one-limit-{limit_ms:.2f}.json"
        return kept(path, Cell, partial(one.cell, total_s, step_s))

    def winner(self, limit_ms: float) -> TranslationArch:
        """The best subnet within a limit, as measured; found once."""

        def search() -> TranslationArch:
            found = self.run.search(f"{limit_ms:.4f}ms", device="local").winner.arch
            assert isinstance(found, TranslationArch)
            return found

        return kept(self.folder / "winners" / f"{limit_ms:.2f}.json", TranslationArch, search)

    def supernet_cost(self, arch: TranslationArch) -> float:
        """Time of a step of the supernet over one of an architecture alone: the median of trials
        that take turns.
        """
        state = trained_run(open_run(self.folder))
        config = state.config.training.model_copy(
            update={"steps": TRIAL_STEPS, "validate_every": TRIAL_STEPS}
        )
        batches = Batches(state.tokenized(state.data.train), config.tokens_per_batch, self.seed)
        valid = ordered_batches(state.tokenized(state.data.valid[:8]), VALIDATION_TOKENS)
        ratios = []
        for _ in range(TRIALS):
            nets = (state.family.build_supernet(*_fresh(state)), state.subnet(arch))
            supernet_s, alone_s = (step_seconds(net, config, batches, valid) for net in nets)
            ratios.append(supernet_s / alone_s)
        return float(median(ratios))

    @cached_property
    def taught_folder(self) -> Path:
        """A copy of the folder in which the largest subnet teaches."""
        folder: Path = self.options.dir / f"taught-{self.seed}"
        if not folder.exists():
            copy = folder.with_name(f".{folder.name}")
            shutil.rmtree(copy, ignore_errors=True)
            copied = shutil.ignore_patterns("cells", "winners", "archs", "subnets")
            shutil.copytree(self.folder, copy, ignore=copied)
            text = (copy / "mosdeploy.toml").read_text()
            (copy / "mosdeploy.toml").unlink()
            write_run_file(copy, text, {"finetune": {"teacher": "largest", "data": "both"}})
            copy.rename(folder)
        return folder

    def shared(self) -> Shared:
        """Train what all limits share."""

        def make() -> Shared:
            start = time.process_time()
            _ = self.run
            supernet_s = time.process_time() - start
            if not self.options.taught:
                return Shared(supernet_s=supernet_s, teacher_s=0.0)
            run = mosdeploy.open_run(self.taught_folder)
            start = time.process_time()
            run.finetune("largest")
            run.distill()
            return Shared(supernet_s=supernet_s, teacher_s=time.process_time() - start)

        name = "shared-taught.json" if self.options.taught else "shared.json"
        return kept(self.folder / name, Shared, make)

    def cells(self, limits: Limits) -> list[Cell]:
        """All trainings of this seed."""
        found = []
        picked = zip(limits.limits_ms, limits.by_hand, strict=True)
        for limit_ms, by_hand in list(picked)[: self.options.limits]:
            arch = self.winner(limit_ms)
            found.append(self.cell("ours", limit_ms, 1, arch))
            found.append(self.cell("HAT", limit_ms, 1, arch))
            if self.options.one_limit:
                found.append(self.one_limit(limit_ms, found[-2]))
            if self.options.taught:
                found.append(self.cell("ours, taught", limit_ms, 1, arch))
            first = [self.cell("by hand", limit_ms, 1, arch) for arch in by_hand]
            best = _best(first)
            found.append(first[best])
            share = len(by_hand)
            short = [self.cell(CHOICE_INCLUDED, limit_ms, 1, arch, share) for arch in by_hand]
            seconds = sum(cell.seconds for cell in short)
            found.append(short[_best(short)].model_copy(update={"seconds": seconds}))
            found += [
                self.cell("by hand", limit_ms, num_limits, by_hand[best])
                for num_limits in self.options.ks
                if num_limits > 1
            ]
        return found


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
    parser.add_argument("--ks", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--limits", type=int, default=len(PLACES), help="how many, lowest first")
    parser.add_argument("--supernet-steps", type=int, default=200)
    parser.add_argument("--finetune-steps", type=int, default=2400)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one-limit", action="store_true", help="ours for one limit alone, too")
    parser.add_argument("--taught", action="store_true", help="ours with a teacher, too")
    parser.add_argument(
        "--json",
        action="store_true",
        help="keep results and picture",
    )
    options = parser.parse_args()
    limits = kept(options.dir / "limits.json", Limits, partial(choose_limits, options))
    rows = list[Row]()
    for seed in options.seeds:
        walk = Walk(options, seed)
        shared = walk.shared()
        rows += rows_of(walk.cells(limits), shared, options.ks, options.threads)
    outcome = Outcome(
        command=command(),
        versions=versions(PACKAGES),
        processor=processor(),
        rows=tuple(rows),
    )
    print(table(outcome))
    if options.json:
        name = "by_hand-catalog" if options.catalog else f"by_hand-{options.data.name}"
        write_record(HERE / f"{name}.json", outcome)
        picture(outcome).save(HERE.parent / "docs" / "images" / f"{name}.svg")


if __name__ == "__main__":
    main()
