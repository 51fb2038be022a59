"""Whether a training that reads its data a few times should drop anything out.

    python benchmarks/dropout.py --data ../shared/data/corpus/en-de --dir runs/dropout --json

Of every pair, of every third and of every ninth of one corpus: a short supernet, and one fixed
architecture trained on from it, without `[supernet] dropout` and with 0.1. All read as many tokens.
Held-out pairs are the same for all. A killed run goes on with the same command.
"""

import argparse
from functools import partial
from pathlib import Path

from by_hand_limits import run_options
from results import add_result_options, finish
from walk_cells import check_options, judged, kept, write_run_file

import mosdeploy
from mosdeploy.data.batches import Batches
from mosdeploy.recipes import read_recipe
from mosdeploy.record import Record
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import trained_run
from mosdeploy.storage import atomic_write

PACKAGES = ("torch", "numpy", "sacrebleu")
RATES = (0.1, 0.0)
LAYERS = (2, 2)
"""Encoder and decoder layers of the architecture; its widths are the space's largest."""


class Cell(Record):
    """One training: how often it read each pair, and its validation loss."""

    epochs: float
    loss: float


def write_part(options: argparse.Namespace, every: int) -> Path:
    """Write every n-th training pair; return the prefix of the two files."""
    prefix: Path = options.dir.absolute() / f"every-{every}" / "train"
    for language in options.data.name.split("-"):
        lines = (options.data / f"train.{language}").read_text(encoding="utf-8").splitlines()
        atomic_write(prefix.with_suffix(f".{language}"), "\n".join(lines[::every]) + "\n")
    return prefix


def cell(options: argparse.Namespace, every: int, rate: float) -> Cell:
    """Train on a part of the corpus with a rate of dropout."""
    folder = options.dir / f"every-{every}-rate-{rate:g}"
    told = argparse.Namespace(**vars(options), threads=1, inherited_share=0.4, dropout=rate)
    changes = run_options(told, options.seed, options.supernet_steps)
    changes["corpus"]["train"] = str(write_part(options, every))
    write_run_file(folder, read_recipe("tiny"), changes)
    run = mosdeploy.open_run(folder)
    run.train()
    state = trained_run(open_run(folder))
    space = state.config.space
    row = space.to_genes(space.largest)
    for name, depth in zip(("encoder_layers", "decoder_layers"), LAYERS, strict=True):
        row[space.gene_slices[name]] = depth
    arch = folder / "arch.json"
    atomic_write(arch, space.from_genes(row).model_dump_json())
    card = run.finetune(str(arch), steps=options.finetune_steps)
    tokens = state.config.training.tokens_per_batch
    epoch = len(Batches(state.tokenized(state.data.train), tokens, options.seed))
    loss = judged(folder, str(arch), card.weights).loss
    return Cell(epochs=options.finetune_steps / epoch, loss=loss)


def main() -> None:
    """Train what is missing, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a parallel corpus, SOURCE-TARGET")
    parser.add_argument("--dir", type=Path, required=True, help="everything is kept here")
    parser.add_argument("--every", type=int, nargs="+", default=[1, 3, 9])
    parser.add_argument("--supernet-steps", type=int, default=200)
    parser.add_argument("--finetune-steps", type=int, default=2400)
    parser.add_argument("--seed", type=int, default=1)
    add_result_options(parser)
    options = parser.parse_args()
    steps = {name: getattr(options, name) for name in ("supernet_steps", "finetune_steps")}
    check_options(options.dir, seed=options.seed, **steps)
    rows = []
    for every in options.every:
        cells = []
        for rate in RATES:
            path = options.dir / "cells" / f"{every}-{rate:g}.json"
            cells.append(kept(path, Cell, partial(cell, options, every, rate)))
        rows.append([f"{cells[0].epochs:.1f} times", *(f"{x.loss:.3f}" for x in cells)])
    header = ("each pair is read", "loss with dropout 0.1", "with 0")
    finish(options, PACKAGES, header, rows, [options.seed])


if __name__ == "__main__":
    main()
