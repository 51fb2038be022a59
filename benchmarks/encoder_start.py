"""What deep encoders learn in few steps, by the size of what their layers add at first.

    python benchmarks/encoder_start.py --data ../shared/data/corpus/en-de --dir runs/start --json

Architectures of so many encoder layers (--layers) and one decoder layer, the widest of the recipe
`tiny`, are trained from scratch for --steps. The maps of an encoder layer to the residual start
from Xavier weights, times each of --gains; the product's is `RESIDUAL_GAIN`. A killed run goes on
with the same command, and two processes may each make some of the cells.
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
from mosdeploy.recipes import read_recipe
from mosdeploy.record import Record
from mosdeploy.run_folder.run import open_run
from mosdeploy.storage import atomic_write, write_record
from mosdeploy.supernet import layers

HERE = Path(__file__).parent
PACKAGES = ("torch", "numpy", "sacrebleu")
SUPERNET_STEPS = 20
"""No subnet is trained without a supernet, which a training from scratch takes nothing from."""


class Cell(Record):
    """One training: its encoder layers, the gain, and what it came to."""

    layers: int
    gain: float
    scores: Scores


class Outcome(Provenance):
    """What encoder_start.json holds."""

    steps: int
    cells: tuple[Cell, ...]


def cell(options: argparse.Namespace, num_layers: int, gain: float) -> Cell:
    """One training."""
    layers.RESIDUAL_GAIN = gain
    folder = options.dir / f"layers-{num_layers}-gain-{gain:g}"
    told = argparse.Namespace(
        **vars(options), threads=1, inherited_share=1.0, dropout=0.0, finetune_steps=options.steps
    )
    changes = run_options(told, options.seed, SUPERNET_STEPS)
    write_run_file(folder, read_recipe("tiny"), changes)
    run = mosdeploy.open_run(folder)
    run.train()
    space = open_run(folder).config.space
    row = space.to_genes(space.largest)
    for name, depth in (("encoder_layers", num_layers), ("decoder_layers", 1)):
        row[space.gene_slices[name]] = depth
    arch = folder / "arch.json"
    atomic_write(arch, space.from_genes(row).model_dump_json())
    card = run.finetune(str(arch), steps=options.steps, from_scratch=True)
    scores = judged(folder, str(arch), card.weights)
    return Cell(layers=num_layers, gain=gain, scores=scores)


def table(cells: tuple[Cell, ...]) -> str:
    """Markdown."""
    header = ("encoder layers", "gain", "validation loss", "BLEU", "test BLEU")
    rows = [
        (
            one.layers,
            f"{one.gain:g}",
            f"{one.scores.loss:.3f}",
            f"{one.scores.metrics['valid greedy BLEU']:.1f}",
            f"{one.scores.metrics['test greedy BLEU']:.1f}",
        )
        for one in cells
    ]
    return markdown(header, rows)


def main() -> None:
    """Make the cells that are missing, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a parallel corpus, SOURCE-TARGET")
    parser.add_argument("--dir", type=Path, required=True, help="everything is kept here")
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--gains", type=float, nargs="+", default=[1.0, 0.1])
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="keep the results")
    options = parser.parse_args()
    check_options(options.dir, steps=options.steps, seed=options.seed)
    cells = []
    for num_layers in options.layers:
        for gain in options.gains:
            path = options.dir / "cells" / f"{num_layers}-{gain:g}.json"
            cells.append(kept(path, Cell, partial(cell, options, num_layers, gain)))
            print(json.dumps(cells[-1].model_dump()), file=sys.stderr, flush=True)
    print(table(tuple(cells)))
    if options.json:
        outcome = Outcome(**provenance(PACKAGES), steps=options.steps, cells=tuple(cells))
        write_record(HERE / "encoder_start.json", outcome)


if __name__ == "__main__":
    main()
