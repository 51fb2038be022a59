"""How good inherited subnets are, and how well they rank: ordinary supernet, MoS and variants,
equal steps and tokens.

    python benchmarks/supernet_quality.py --data ../shared/data/corpus/en-de --dir runs/quality

supernet_quality.toml says what is trained. A cell is one training with one seed: a supernet, whose
subnets of eight fixed random architectures are then judged, or one of these architectures from
scratch, with as many steps on the same batches. A finished cell is a JSON file and is not done
again; a killed one goes on at its last checkpoint. The table covers what is finished, and is
written to supernet_quality.json beside this script.
"""

import argparse
import math
import multiprocessing
import os
import platform
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import mean, median, stdev

from provenance import command, versions
from quality_cells import (
    HERE,
    NUM_ARCHS,
    PACKAGES,
    SCRATCH,
    SCRATCHES,
    Bench,
    Cell,
    Settings,
)
from scipy.stats import kendalltau

from mosdeploy.families.translation.dataset import made_up_dataset
from mosdeploy.families.translation.elastic import fresh_supernet
from mosdeploy.record import Record
from mosdeploy.records import TrainingCost
from mosdeploy.spaces.translation import TranslationArch
from mosdeploy.storage import write_record
from mosdeploy.training.cost import CostTask, training_cost

STEP_TOKENS = 4096
PAIR_TOKENS = 31
"""Of each side of the pairs whose steps are timed; with an end, 128 pairs fill a batch."""


class Row(Record):
    """A variant over its seeds: means, and the standard deviation over seeds where there are
    several.

    Gaps are inherited loss minus scratch loss, and scratch BLEU minus inherited BLEU; `tau` is
    Kendall's, between inherited and scratch, by loss and by BLEU.
    """

    name: str
    seeds: tuple[int, ...]
    num_parameters: int
    loss: float
    bleu: float
    loss_gap: float
    loss_gap_sd: float | None
    bleu_gap: float
    bleu_gap_sd: float | None
    loss_tau: float
    loss_tau_sd: float | None
    bleu_tau: float
    bleu_tau_sd: float | None


class StepTime(Record):
    """What a step of `num_targets` target tokens takes, in interleaved rounds on an idle machine.

    `ratio` is the median over rounds of this variant's time to that of the ordinary supernet in the
    same round.
    """

    name: str
    num_targets: int
    step_ms: float
    ratio: float
    ratio_min: float
    ratio_max: float
    peak_mib: float


class StepTimes(Record):
    """What supernet_quality_step_time.json holds."""

    command: str
    versions: dict[str, str]
    machine: str
    rounds: int
    rows: tuple[StepTime, ...]


class Outcome(Record):
    """What supernet_quality.json holds."""

    command: str
    versions: dict[str, str]
    corpus: str
    settings: Settings
    archs: tuple[TranslationArch, ...]
    scratch_seeds: tuple[int, ...]
    scratch_losses: tuple[float, ...]
    scratch_bleus: tuple[float, ...]
    rows: tuple[Row, ...]
    cells: tuple[Cell, ...]


# -- the table -------------------------------------------------------------------------------------


def outcome(bench: Bench) -> Outcome:
    """What is finished so far."""
    found = sorted(
        path.name.removesuffix(".json").rsplit(".seed") for path in bench.dir.glob("*.seed*.json")
    )
    names = [*bench.settings.variants, *SCRATCHES]
    cells = [
        cell for name, seed in found if name in names and (cell := bench.finished(name, int(seed)))
    ]
    scratch = [[cell for cell in cells if cell.name == name] for name in SCRATCHES]
    losses = [mean([cell.losses[0] for cell in of_arch]) for of_arch in scratch if of_arch]
    bleus = [mean([cell.bleus[0] for cell in of_arch]) for of_arch in scratch if of_arch]
    whole = len(losses) == NUM_ARCHS
    of_variant = {
        name: [cell for cell in cells if cell.name == name] for name in bench.settings.variants
    }
    rows = [row(own, losses, bleus) for own in of_variant.values() if own and whole]
    return Outcome(
        command=command(),
        versions=versions(PACKAGES),
        corpus=f"{len(bench.corpus.train)} training pairs, sha256 {bench.corpus.sha256}",
        settings=bench.settings,
        archs=bench.archs,
        scratch_seeds=tuple(sorted({cell.seed for of_arch in scratch for cell in of_arch})),
        scratch_losses=tuple(losses),
        scratch_bleus=tuple(bleus),
        rows=tuple(rows),
        cells=tuple(cells),
    )


def row(
    cells: Sequence[Cell], scratch_losses: Sequence[float], scratch_bleus: Sequence[float]
) -> Row:
    """Hold the inherited subnets of one variant against the same architectures from scratch (mean
    over its seeds).
    """

    def over_seeds(values: Sequence[float]) -> tuple[float, float | None]:
        return mean(values), stdev(values) if len(values) > 1 else None

    loss_gap, loss_gap_sd = over_seeds([mean(cell.losses) - mean(scratch_losses) for cell in cells])
    bleu_gap, bleu_gap_sd = over_seeds([mean(scratch_bleus) - mean(cell.bleus) for cell in cells])
    loss_tau, loss_tau_sd = over_seeds([tau(cell.losses, scratch_losses) for cell in cells])
    bleu_tau, bleu_tau_sd = over_seeds([tau(cell.bleus, scratch_bleus) for cell in cells])
    return Row(
        name=cells[0].name,
        seeds=tuple(cell.seed for cell in cells),
        num_parameters=cells[0].num_parameters,
        loss=mean(mean(cell.losses) for cell in cells),
        bleu=mean(mean(cell.bleus) for cell in cells),
        loss_gap=loss_gap,
        loss_gap_sd=loss_gap_sd,
        bleu_gap=bleu_gap,
        bleu_gap_sd=bleu_gap_sd,
        loss_tau=loss_tau,
        loss_tau_sd=loss_tau_sd,
        bleu_tau=bleu_tau,
        bleu_tau_sd=bleu_tau_sd,
    )


def tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's rank correlation; zero where one side is all alike and ranks nothing."""
    value = float(kendalltau(first, second).statistic)
    return value if math.isfinite(value) else 0.0


# -- step time -------------------------------------------------------------------------------------


def step_times(bench: Bench, names: Sequence[str], rounds: int) -> StepTimes:
    """Time a step of each variant on made-up sentences, one variant after the other in each
    round.
    """
    vocab_size = bench.settings.corpus.vocab_size
    costs: dict[str, list[TrainingCost]] = {name: [] for name in names}
    for done in range(rounds):
        for name in names:
            print(f"round {done + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            supernet, training = bench.sections(name, seed=1)
            training = training.model_copy(update={"tokens_per_batch": STEP_TOKENS})
            task = CostTask(
                fresh=partial(fresh_supernet, bench.settings.space, vocab_size, seed=1),
                supernet=supernet,
                training=training,
                examples=made_up_dataset(vocab_size, PAIR_TOKENS, STEP_TOKENS),
            )
            costs[name].append(training_cost(task))
    rows = []
    for name, own in costs.items():
        ratios = [
            cost.step_s / plain.step_s for cost, plain in zip(own, costs[names[0]], strict=True)
        ]
        rows.append(
            StepTime(
                name=name,
                num_targets=own[0].num_targets,
                step_ms=1000 * median(cost.step_s for cost in own),
                ratio=median(ratios),
                ratio_min=min(ratios),
                ratio_max=max(ratios),
                peak_mib=max(cost.peak_bytes for cost in own) / 2**20,
            )
        )
    return StepTimes(
        command=command(),
        versions=versions(PACKAGES),
        machine=f"{platform.machine()}, {os.cpu_count()} cores",
        rounds=rounds,
        rows=tuple(rows),
    )


def step_table(result: StepTimes) -> str:
    """Markdown."""
    lines = [
        "| supernet | ms a step | to the first | range | peak MiB |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.name} | {r.step_ms:.0f} | {r.ratio:.3f} | {r.ratio_min:.3f} to {r.ratio_max:.3f} "
        f"| {r.peak_mib:.0f} |"
        for r in result.rows
    ]
    return "\n".join(lines)


def table(result: Outcome) -> str:
    """Markdown."""

    def spread(value: float, sd: float | None, digits: int) -> str:
        return f"{value:.{digits}f}" + ("" if sd is None else f" ± {sd:.{digits}f}")

    lines = [
        "| supernet | seeds | parameters | loss | gap | tau | BLEU | gap | tau |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    if result.rows:
        losses = mean(result.scratch_losses)
        bleus = mean(result.scratch_bleus)
        lines.append(
            f"| from scratch | {len(result.scratch_seeds)} | - | {losses:.3f} | - | - | "
            f"{bleus:.2f} | - | - |"
        )
    for r in result.rows:
        cells = [
            r.name,
            f"{len(r.seeds)}",
            f"{r.num_parameters:,}",
            f"{r.loss:.3f}",
            spread(r.loss_gap, r.loss_gap_sd, 3),
            spread(r.loss_tau, r.loss_tau_sd, 2),
            f"{r.bleu:.2f}",
            spread(r.bleu_gap, r.bleu_gap_sd, 2),
            spread(r.bleu_tau, r.bleu_tau_sd, 2),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Train what is not finished, print the table, keep the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the parallel corpus")
    parser.add_argument(
        "--dir", type=Path, required=True, help="folder of the cells; made if it does not exist"
    )
    parser.add_argument(
        "--only",
        default=None,
        help="names of variants, and scratch or scratch-0 and so on, in the order to train them",
    )
    parser.add_argument("--seeds", default="1", help="seeds, like 1,2,3")
    parser.add_argument(
        "--steps",
        type=int,
        default=None,
        help="instead of those of the TOML, in a --dir of its own",
    )
    parser.add_argument(
        "--step-time", type=int, metavar="ROUNDS", help="time steps instead, in that many rounds"
    )
    parser.add_argument(
        "--out", type=Path, default=None, help="where the result goes; default: beside this script"
    )
    parser.add_argument("--json", action="store_true", help="print the JSON instead of the table")
    options = parser.parse_args()
    bench = Bench(options.data, options.dir, options.steps)
    names = options.only.split(",") if options.only else [*bench.settings.variants, SCRATCH]
    if unknown := set(names) - {*bench.settings.variants, SCRATCH, *SCRATCHES}:
        known = ", ".join([*bench.settings.variants, SCRATCH, SCRATCHES[0]])
        parser.error(f"unknown in --only: {', '.join(unknown)}; known: {known} and so on")
    if options.step_time:
        times = step_times(
            bench, [name for name in names if not name.startswith(SCRATCH)], options.step_time
        )
        write_record(options.out or HERE / "supernet_quality_step_time.json", times)
        print(times.model_dump_json() if options.json else step_table(times))
        return
    train_cells(bench, names, [int(seed) for seed in options.seeds.split(",")])
    result = outcome(bench)
    write_record(options.out or HERE / "supernet_quality.json", result)
    print(result.model_dump_json() if options.json else table(result))


def train_cells(bench: Bench, names: Sequence[str], seeds: Sequence[int]) -> None:
    """Train what is not finished, each cell in a process of its own, so that none inherits
    anything.
    """
    bench.dir.mkdir(parents=True, exist_ok=True)
    bench.tokenizer  # noqa: B018  trained here, before other processes ask for it
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as one_at_a_time:
        for name, seed in bench.cells(names, seeds):
            if bench.finished(name, seed) is None:
                print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
                one_at_a_time.submit(
                    Bench(bench.data, bench.dir, bench.steps).run, name, seed
                ).result()


if __name__ == "__main__":
    main()
