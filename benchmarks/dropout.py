"""Whether a training that reads its data a few times should drop anything out.

    python benchmarks/dropout.py --data ../shared/data/corpus/en-de --dir runs/dropout --json

Of every pair, of every third and of every ninth of the same corpus (`--every`): a supernet of
--supernet-steps, and one fixed architecture trained on from it for --finetune-steps, as
`mosdeploy finetune` does, both with each of --rates for `[supernet] dropout` (that of the largest
network; narrower ones have less). All read as many tokens: what differs is how often they read the
same pair. Held-out pairs are the same for all. Every verb and every cell resumes: a killed run goes
on with the same command, and two processes may each make some of the cells (`--every`, `--rates`).
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

from by_hand_limits import run_options
from provenance import Provenance, provenance
from walk_cells import Scores, check_options, judged, kept, markdown, write_run_file

import mosdeploy
from mosdeploy.data.batches import Batches
from mosdeploy.recipes import read_recipe
from mosdeploy.record import Record
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import trained_run
from mosdeploy.storage import atomic_write, write_record

HERE = Path(__file__).parent
PACKAGES = ("torch", "numpy", "sacrebleu")
LAYERS = (2, 2)
"""Encoder and decoder layers of the architecture; its widths are the space's largest."""


class Cell(Record):
    """One training: every how many pairs it read, how often it read each, and what it came to."""

    every: int
    epochs: float
    rate: float
    scores: Scores


class Outcome(Provenance):
    """What dropout.json holds."""

    cells: tuple[Cell, ...]


def write_part(options: argparse.Namespace, every: int) -> Path:
    """Every n-th pair of the training data; the prefix of its two files."""
    prefix: Path = options.dir.absolute() / f"every-{every}" / "train"
    for language in options.data.name.split("-"):
        lines = (options.data / f"train.{language}").read_text(encoding="utf-8").splitlines()
        atomic_write(prefix.with_suffix(f".{language}"), "\n".join(lines[::every]) + "\n")
    return prefix


def open_folder(options: argparse.Namespace, every: int, rate: float) -> mosdeploy.RunFolder:
    """A run folder for a part of the corpus and a rate, whose supernet is trained."""
    folder = options.dir / f"every-{every}-rate-{rate:g}"
    told = argparse.Namespace(**vars(options), threads=1, inherited_share=0.4, dropout=rate)
    changes = run_options(told, options.seed, options.supernet_steps)
    changes["corpus"]["train"] = str(write_part(options, every))
    write_run_file(folder, read_recipe("tiny"), changes)
    run = mosdeploy.open_run(folder)
    run.train()
    return run


def cell(options: argparse.Namespace, every: int, rate: float) -> Cell:
    """One training."""
    run = open_folder(options, every, rate)
    state = trained_run(open_run(run.root))
    space = state.config.space
    row = space.to_genes(space.largest)
    for name, depth in zip(("encoder_layers", "decoder_layers"), LAYERS, strict=True):
        row[space.gene_slices[name]] = depth
    arch = run.root / "arch.json"
    atomic_write(arch, space.from_genes(row).model_dump_json())
    steps = options.finetune_steps
    card = run.finetune(str(arch), steps=steps)
    config = state.config.training
    epoch = len(Batches(state.tokenized(state.data.train), config.tokens_per_batch, options.seed))
    scores = judged(run.root, str(arch), card.weights)
    return Cell(every=every, epochs=steps / epoch, rate=rate, scores=scores)


def table(cells: tuple[Cell, ...]) -> str:
    """Markdown."""
    header = ("pairs", "read so often", "dropout", "validation loss", "BLEU", "chrF", "test BLEU")
    names = ("valid greedy BLEU", "valid greedy chrF", "test greedy BLEU")
    rows = []
    for one in cells:
        figures = [f"{one.scores.metrics[name]:.1f}" for name in names]
        part = "all" if one.every == 1 else f"1 of {one.every}"
        start = (part, f"{one.epochs:.1f}", f"{one.rate:g}", f"{one.scores.loss:.3f}")
        rows.append((*start, *figures))
    return markdown(header, rows)


def main() -> None:
    """Make the cells that are missing, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a parallel corpus, SOURCE-TARGET")
    parser.add_argument("--dir", type=Path, required=True, help="everything is kept here")
    parser.add_argument("--every", type=int, nargs="+", default=[1, 3, 9])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.1, 0.0])
    parser.add_argument("--supernet-steps", type=int, default=200)
    parser.add_argument("--finetune-steps", type=int, default=2400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="keep the results")
    options = parser.parse_args()
    steps = {name: getattr(options, name) for name in ("supernet_steps", "finetune_steps")}
    check_options(options.dir, seed=options.seed, **steps)
    cells = []
    for every in options.every:
        for rate in options.rates:
            path = options.dir / "cells" / f"{every}-{rate:g}.json"
            cells.append(kept(path, Cell, partial(cell, options, every, rate)))
            print(json.dumps(cells[-1].model_dump()), file=sys.stderr, flush=True)
    print(table(tuple(cells)))
    if options.json:
        outcome = Outcome(
            **provenance(PACKAGES),
            cells=tuple(cells),
        )
        write_record(HERE / "dropout.json", outcome)


if __name__ == "__main__":
    main()
