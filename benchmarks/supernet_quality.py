"""How good inherited subnets are, and how well they rank: ordinary supernet, MoS and variants, equal steps and tokens.

    python benchmarks/supernet_quality.py --data ../shared/data/corpus/en-de --dir runs/quality

supernet_quality.toml says what is trained. A cell is one training with one seed: a supernet, whose subnets of eight
fixed random architectures are then judged, or one of these architectures from scratch, with as many updates on the same
batches. A finished cell is a JSON file and is not done again; a killed one goes on at its last checkpoint. The table
covers what is finished, and is written to supernet_quality.json beside this script.
"""

import argparse
import importlib.metadata
import json
import math
import multiprocessing
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np
from pydantic import Field
from scipy.stats import kendalltau

from mosdeploy.config import CorpusConfig, SupernetConfig, TrainingConfig
from mosdeploy.errors import MosdeployError
from mosdeploy.records import TrainingCost
from mosdeploy.schema import Record, parse, read_toml
from mosdeploy.space import ArchConfig, SearchSpace
from mosdeploy.supernet import Subnet, Supernet, extract
from mosdeploy.training.batches import Batches, ordered_batches, tokenize
from mosdeploy.training.corpus import Corpus, load_corpus
from mosdeploy.training.cost import training_cost
from mosdeploy.training.evaluate import bleu_chrf, translate, validation_loss
from mosdeploy.training.tokenizer import Tokenizer, train_tokenizer
from mosdeploy.training.trainer import fresh_subnet, fresh_supernet, train
from mosdeploy.workspace import fingerprint, locked, read_record, write_record

HERE = Path(__file__).parent
PACKAGES = ("torch", "numpy", "sentencepiece", "sacrebleu", "scipy")
ARCH_SEED, NUM_ARCHS = 2026, 8
VALIDATION_TOKENS = 4096
MAX_DECODE_STEPS = 64
STEP_TOKENS, STEP_PIECES = 4096, 31  # a batch of 128 pairs of 31 pieces and an end
SCRATCH = "scratch"


class Variant(Record):
    """What a way to share weights changes in the common sections."""

    supernet: Mapping[str, Any] = Field(default_factory=dict)
    training: Mapping[str, Any] = Field(default_factory=dict)


class Settings(Record):
    """supernet_quality.toml."""

    corpus: CorpusConfig
    space: SearchSpace
    supernet: dict[str, Any]
    training: dict[str, Any]
    variants: dict[str, Variant]


class Cell(Record):
    """What one training came to; `losses` (nats a token) and `bleus` follow the fixed architectures it was judged on.

    `seconds` is training time on a machine that was not quiet: --step-time is for comparing.
    """

    name: str
    seed: int
    made_from: str
    num_parameters: int
    updates: int
    losses: tuple[float, ...]
    bleus: tuple[float, ...]
    seconds: float


class Row(Record):
    """A variant over its seeds: means, and the standard deviation over seeds where there are several.

    Gaps are inherited loss minus scratch loss, and scratch BLEU minus inherited BLEU; `tau` is Kendall's, between
    inherited and scratch, by loss and by BLEU.
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
    """What an update of `target_tokens` target tokens takes, in a quiet machine's interleaved rounds.

    `ratio` is the median over rounds of this variant's time to that of the ordinary supernet in the same round.
    """

    name: str
    target_tokens: int
    update_ms: float
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
    archs: tuple[ArchConfig, ...]
    scratch_seeds: tuple[int, ...]
    scratch_losses: tuple[float, ...]
    scratch_bleus: tuple[float, ...]
    rows: tuple[Row, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Bench:
    """The common ground of all cells."""

    data: Path
    dir: Path
    updates: int | None = None

    @cached_property
    def settings(self) -> Settings:
        """The TOML, with the corpus put in."""
        text = json.dumps(read_toml(HERE / "supernet_quality.toml")).replace("CORPUS", str(self.data))
        stated = json.loads(text)
        stated["training"]["updates"] = self.updates or stated["training"]["updates"]
        return parse(Settings, stated, "supernet_quality.toml")

    @cached_property
    def archs(self) -> tuple[ArchConfig, ...]:
        """The fixed random architectures, the same for every seed."""
        rng = np.random.default_rng(ARCH_SEED)
        return tuple(self.settings.space.sample(rng) for _ in range(NUM_ARCHS))

    @cached_property
    def corpus(self) -> Corpus:
        """Sentence pairs."""
        return load_corpus(self.settings.corpus, Path.cwd())

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Joint pieces, trained once."""
        path = self.dir / "tokenizer.model"
        if not path.exists():
            train_tokenizer(self.corpus.train, self.settings.corpus.vocab_size, path)
        return Tokenizer(path)

    def cells(self, names: Sequence[str], seeds: Sequence[int]) -> "list[tuple[str, int]]":
        """Names and seeds of all trainings, seed by seed in the order of the names."""
        names = [
            n for name in names for n in ([f"{SCRATCH}-{i}" for i in range(NUM_ARCHS)] if name == SCRATCH else [name])
        ]
        return [(name, seed) for seed in seeds for name in names]

    def sections(self, name: str, seed: int) -> tuple[SupernetConfig, TrainingConfig]:
        """How a cell shares weights and trains."""
        variant = Variant(supernet={"routing": "none"}) if name.startswith(SCRATCH) else self.settings.variants[name]
        supernet = {**self.settings.supernet, **variant.supernet}
        training = {**self.settings.training, **variant.training, "seed": seed}
        return parse(SupernetConfig, supernet, name), parse(TrainingConfig, training, name)

    def made_from(self, name: str, seed: int) -> str:
        """Fingerprint of what is stated for a cell; options that came later leave it as it was."""
        variant = Variant() if name.startswith(SCRATCH) else self.settings.variants[name]
        stated = [self.settings.supernet, variant.supernet, self.settings.training, variant.training, name, seed]
        return fingerprint(self.corpus.sha256, self.settings.corpus.vocab_size, self.settings.space, json.dumps(stated))

    def path(self, name: str, seed: int) -> Path:
        """Where a finished cell stands."""
        return self.dir / f"{name}.seed{seed}.json"

    def finished(self, name: str, seed: int) -> Cell | None:
        """The record of a cell that was made from what is stated now."""
        path = self.path(name, seed)
        cell = read_record(Cell, path, "this script") if path.exists() else None
        return cell if cell and cell.made_from == self.made_from(name, seed) else None

    def run(self, name: str, seed: int) -> None:
        """Train a cell, or go on with it, and judge it."""
        path = self.path(name, seed)
        with locked(path.with_suffix(".lock"), MosdeployError(f"another process trains {path.stem}")):
            if self.finished(name, seed) is None:
                write_record(path, self._train(name, seed))

    def _train(self, name: str, seed: int) -> Cell:
        corpus, path, made_from = self.settings.corpus, self.path(name, seed), self.made_from(name, seed)
        supernet, training = self.sections(name, seed)
        pairs = tokenize(self.tokenizer, self.corpus.train, corpus.max_pieces)
        valid = ordered_batches(tokenize(self.tokenizer, self.corpus.valid, corpus.max_pieces), VALIDATION_TOKENS)
        batches = Batches(pairs, training.tokens_per_batch, training.seed)
        space, vocab_size = self.settings.space, self.tokenizer.vocab_size
        net: Supernet | Subnet
        if name.startswith(SCRATCH):
            net = fresh_subnet(self.archs[int(name.removeprefix(f"{SCRATCH}-"))], space, vocab_size, supernet, seed)
        else:
            net = fresh_supernet(space, vocab_size, supernet, seed)
        state, log = path.with_suffix(".state"), path.with_suffix(".log")
        summary = train(net, batches, valid, training, state, log, made_from)
        judged = [net] if isinstance(net, Subnet) else [extract(net, arch) for arch in self.archs]
        cell = Cell(
            name=name,
            seed=seed,
            made_from=made_from,
            num_parameters=sum(p.numel() for p in net.parameters()),
            updates=summary.updates,
            losses=tuple(validation_loss(subnet, valid) for subnet in judged),
            bleus=tuple(self._bleu(subnet) for subnet in judged),
            seconds=summary.train_seconds,
        )
        state.unlink()
        return cell

    def _bleu(self, subnet: Subnet) -> float:
        """Greedy test BLEU."""
        sources = self.tokenizer.encode_many([source for source, _ in self.corpus.test])
        ids = translate(subnet, sources, beam=1, max_steps=MAX_DECODE_STEPS, length_penalty=1.0)
        return bleu_chrf([self.tokenizer.decode(row) for row in ids], [target for _, target in self.corpus.test])[0]


# -- the table -----------------------------------------------------------------------------------------------------


def outcome(bench: Bench) -> Outcome:
    """What is finished so far."""
    found = sorted(path.name.removesuffix(".json").rsplit(".seed") for path in bench.dir.glob("*.seed*.json"))
    names = [*bench.settings.variants, *(f"{SCRATCH}-{i}" for i in range(NUM_ARCHS))]
    cells = [cell for name, seed in found if name in names and (cell := bench.finished(name, int(seed)))]
    scratch = [[cell for cell in cells if cell.name == f"{SCRATCH}-{i}"] for i in range(NUM_ARCHS)]
    losses = [mean([cell.losses[0] for cell in of_arch]) for of_arch in scratch if of_arch]
    bleus = [mean([cell.bleus[0] for cell in of_arch]) for of_arch in scratch if of_arch]
    whole = len(losses) == NUM_ARCHS
    of_variant = {name: [cell for cell in cells if cell.name == name] for name in bench.settings.variants}
    rows = [row(own, losses, bleus) for own in of_variant.values() if own and whole]
    return Outcome(
        command=command(),
        versions=versions(),
        corpus=f"{len(bench.corpus.train)} training pairs, sha256 {bench.corpus.sha256}",
        settings=bench.settings,
        archs=bench.archs,
        scratch_seeds=tuple(sorted({cell.seed for of_arch in scratch for cell in of_arch})),
        scratch_losses=tuple(losses),
        scratch_bleus=tuple(bleus),
        rows=tuple(rows),
        cells=tuple(cells),
    )


def row(cells: Sequence[Cell], scratch_losses: Sequence[float], scratch_bleus: Sequence[float]) -> Row:
    """Hold the inherited subnets of one variant against the same architectures from scratch (mean over its seeds)."""

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


# -- step time -----------------------------------------------------------------------------------------------------


def step_times(bench: Bench, names: Sequence[str], rounds: int) -> StepTimes:
    """Time an update of each variant on made-up sentences, one variant after the other in each round."""
    costs: dict[str, list[TrainingCost]] = {name: [] for name in names}
    for done in range(rounds):
        for name in names:
            print(f"round {done + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            supernet, training = bench.sections(name, seed=1)
            training = training.model_copy(update={"tokens_per_batch": STEP_TOKENS})
            vocab_size = bench.settings.corpus.vocab_size
            costs[name].append(training_cost(bench.settings.space, vocab_size, supernet, training, STEP_PIECES))
    rows = []
    for name, own in costs.items():
        ratios = [cost.update_s / plain.update_s for cost, plain in zip(own, costs[names[0]], strict=True)]
        rows.append(
            StepTime(
                name=name,
                target_tokens=own[0].target_tokens,
                update_ms=1000 * median(cost.update_s for cost in own),
                ratio=median(ratios),
                ratio_min=min(ratios),
                ratio_max=max(ratios),
                peak_mib=max(cost.peak_bytes for cost in own) / 2**20,
            )
        )
    return StepTimes(command=command(), versions=versions(), machine=machine(), rounds=rounds, rows=tuple(rows))


def step_table(result: StepTimes) -> str:
    """Markdown."""
    lines = ["| supernet | ms an update | to the first | range | peak MiB |", "|---|---|---|---|---|"]
    lines += [
        f"| {r.name} | {r.update_ms:.0f} | {r.ratio:.3f} | {r.ratio_min:.3f} to {r.ratio_max:.3f} | {r.peak_mib:.0f} |"
        for r in result.rows
    ]
    return "\n".join(lines)


def command() -> str:
    """What was typed."""
    return " ".join(["python", "benchmarks/supernet_quality.py", *sys.argv[1:]])


def versions() -> dict[str, str]:
    """Of Python and of what computes."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


def machine() -> str:
    """Processor and cores."""
    return f"{platform.machine()}, {os.cpu_count()} cores"


def table(result: Outcome) -> str:
    """Markdown."""

    def spread(value: float, sd: float | None, digits: int) -> str:
        return f"{value:.{digits}f}" + ("" if sd is None else f" ± {sd:.{digits}f}")

    lines = [
        "| supernet | seeds | parameters | loss | gap | tau | BLEU | gap | tau |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    if result.rows:
        losses, bleus = mean(result.scratch_losses), mean(result.scratch_bleus)
        lines.append(f"| from scratch | {len(result.scratch_seeds)} | - | {losses:.3f} | - | - | {bleus:.2f} | - | - |")
    for r in result.rows:
        loss = f"{r.loss:.3f} | {spread(r.loss_gap, r.loss_gap_sd, 3)} | {spread(r.loss_tau, r.loss_tau_sd, 2)}"
        bleu = f"{r.bleu:.2f} | {spread(r.bleu_gap, r.bleu_gap_sd, 2)} | {spread(r.bleu_tau, r.bleu_tau_sd, 2)}"
        lines.append(f"| {r.name} | {len(r.seeds)} | {r.num_parameters:,} | {loss} | {bleu} |")
    return "\n".join(lines)


def main() -> None:
    """Train what is not finished, print the table, keep the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the parallel corpus")
    parser.add_argument("--dir", type=Path, required=True, help="folder of the cells; made if it does not exist")
    parser.add_argument("--only", default=None, help="names of variants, and scratch, in the order to train them")
    parser.add_argument("--seeds", default="1", help="seeds, like 1,2,3")
    parser.add_argument("--updates", type=int, default=None, help="instead of those of the TOML, in a --dir of its own")
    parser.add_argument("--step-time", type=int, metavar="ROUNDS", help="time updates instead, in that many rounds")
    parser.add_argument("--out", type=Path, default=None, help="where the result goes; default: beside this script")
    parser.add_argument("--json", action="store_true", help="print the JSON instead of the table")
    options = parser.parse_args()
    bench = Bench(options.data, options.dir, options.updates)
    names = options.only.split(",") if options.only else [*bench.settings.variants, SCRATCH]
    if unknown := set(names) - {*bench.settings.variants, SCRATCH}:
        parser.error(f"unknown in --only: {', '.join(unknown)}; known: {', '.join(bench.settings.variants)}, {SCRATCH}")
    if options.step_time:
        times = step_times(bench, [name for name in names if name != SCRATCH], options.step_time)
        write_record(options.out or HERE / "supernet_quality_step_time.json", times)
        print(times.model_dump_json() if options.json else step_table(times))
        return
    train_cells(bench, names, [int(seed) for seed in options.seeds.split(",")])
    result = outcome(bench)
    write_record(options.out or HERE / "supernet_quality.json", result)
    print(result.model_dump_json() if options.json else table(result))


def train_cells(bench: Bench, names: Sequence[str], seeds: Sequence[int]) -> None:
    """Train what is not finished, each cell in a process of its own, so that none inherits anything."""
    bench.dir.mkdir(parents=True, exist_ok=True)
    bench.tokenizer  # noqa: B018  trained here, before other processes ask for it
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as one_at_a_time:
        for name, seed in bench.cells(names, seeds):
            if bench.finished(name, seed) is None:
                print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
                one_at_a_time.submit(Bench(bench.data, bench.dir, bench.updates).run, name, seed).result()


if __name__ == "__main__":
    main()
