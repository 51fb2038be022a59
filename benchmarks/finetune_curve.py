"""How many steps of finetuning bring an inherited subnet to what the same architecture reaches from scratch.

    python benchmarks/finetune_curve.py --run runs/none --run runs/neuron --archs 3 --steps 25,50,100,200,400,800

Each --run is the folder of a trained supernet; corpus, pieces and search space must be the same in all. The same fixed
random architectures are finetuned in each for every number of steps, each a training of its own with its own learning
rates, and are trained from scratch once, in the first folder. A finished training is one line of finetune_curve.jsonl
in its folder and is not done again; a killed one goes on at its last checkpoint. The script prints the table and writes
finetune_curve.json and the curve, finetune_curve.html, beside itself.
"""

import argparse
import importlib.metadata
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import numpy as np

from mosdeploy import pipeline
from mosdeploy.cli import Progress
from mosdeploy.pipeline.run import Run
from mosdeploy.records import SubnetCard
from mosdeploy.report.chart import Axes, Mark, Series, front_chart
from mosdeploy.schema import Record, parse
from mosdeploy.space import ArchConfig
from mosdeploy.workspace import append_line, atomic_write, read_lines, write_record

HERE = Path(__file__).parent
PACKAGES = ("torch", "numpy", "sentencepiece")
ARCH_SEED = 2027
POINTS_NAME = "finetune_curve.jsonl"
STYLES = (("front", "circle"), ("measured", "diamond"), ("winner", "star"))


class Row(Record):
    """Mean validation losses (nats a token) of the architectures in one run folder, after so many steps each.

    `gap` is to the mean from scratch, and `closed` how much of the inherited gap is gone: 1 is all of it, None where
    the inherited subnets are no worse.
    """

    run: str
    routing: str
    steps: int
    loss: float
    gap: float
    closed: float | None
    seconds: float


class Outcome(Record):
    """What finetune_curve.json holds; `enough` is the least number of steps tried that leaves no gap, by run."""

    command: str
    versions: dict[str, str]
    archs: tuple[ArchConfig, ...]
    scratch_steps: int
    scratch_loss: float
    scratch_seconds: float
    rows: tuple[Row, ...]
    enough: dict[str, int | None]


def trainings(
    run: Run, arch: ArchConfig, steps: Sequence[int], from_scratch: bool, progress: Progress
) -> list[SubnetCard]:
    """Cards of the trainings of one architecture, in the order of their steps; what is finished is not done again."""
    root = run.workspace.root
    arch_path, points_path = root / f"{arch.key}.json", root / POINTS_NAME
    atomic_write(arch_path, arch.model_dump_json())
    supernet_sha256 = None if from_scratch else run.supernet_card().supernet_sha256
    cards = [parse(SubnetCard, json.loads(line), str(points_path)) for line in read_lines(points_path)[0]]
    found = {c.steps: c for c in cards if (c.arch, c.supernet_sha256) == (arch, supernet_sha256)}
    for wanted in steps:
        if wanted not in found:
            found[wanted] = pipeline.finetune(run, str(arch_path), wanted, from_scratch, progress)
            append_line(points_path, found[wanted])
    return [found[wanted] for wanted in steps]


def measure(runs: Sequence[Run], num_archs: int, steps: Sequence[int], scratch_steps: int | None) -> Outcome:
    """Train whatever is not trained yet, and put the numbers together."""
    progress, space = Progress(), runs[0].config.space
    rng = np.random.default_rng(ARCH_SEED)
    archs = [space.sample(rng) for _ in range(num_archs)]
    whole = [scratch_steps or runs[0].config.training.updates]
    scratch = [card for arch in archs for card in trainings(runs[0], arch, whole, True, progress)]
    scratch_loss = mean(card.loss for card in scratch)
    rows, enough = list[Row](), dict[str, int | None]()
    for run in runs:
        tuned = [trainings(run, arch, steps, False, progress) for arch in archs]
        start_gap = mean(cards[0].start_loss for cards in tuned) - scratch_loss
        losses = [mean(cards[0].start_loss for cards in tuned)]
        losses += [mean(cards[i].loss for cards in tuned) for i in range(len(steps))]
        seconds = [0.0, *(mean(cards[i].train_seconds for cards in tuned) for i in range(len(steps)))]
        name = run.workspace.root.name
        for at, loss, took in zip([0, *steps], losses, seconds, strict=True):
            gap = loss - scratch_loss
            closed = 1 - gap / start_gap if start_gap > 0 else None
            routing = run.config.supernet.routing
            rows.append(Row(run=name, routing=routing, steps=at, loss=loss, gap=gap, closed=closed, seconds=took))
        enough[name] = next((row.steps for row in rows if row.run == name and row.gap <= 0), None)
    progress.close()
    return Outcome(
        command=" ".join(["python", "benchmarks/finetune_curve.py", *sys.argv[1:]]),
        versions={"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}},
        archs=tuple(archs),
        scratch_steps=whole[0],
        scratch_loss=scratch_loss,
        scratch_seconds=mean(card.train_seconds for card in scratch),
        rows=tuple(rows),
        enough=enough,
    )


def table(outcome: Outcome) -> str:
    """Markdown."""
    lines = [
        f"{len(outcome.archs)} architectures; from scratch: {outcome.scratch_steps} steps, "
        f"validation loss {outcome.scratch_loss:.4f}",
        "",
        "| supernet | steps | validation loss | gap | closed |",
        "|---|---|---|---|---|",
    ]
    for row in outcome.rows:
        lines.append(
            f"| {row.run} ({row.routing}) | {row.steps} | {row.loss:.4f} | {row.gap:+.4f} | {row.closed:.0%} |"
        )
    for name, steps in outcome.enough.items():
        lines.append(
            f"\n{name}: " + ("no number of steps tried leaves no gap" if steps is None else f"{steps} are enough")
        )
    return "\n".join(lines)


def curve(outcome: Outcome) -> str:
    """One HTML page with the curve: gap to from-scratch over steps, one line a run."""
    series = []
    for name, (style, shape) in zip(outcome.enough, STYLES, strict=False):
        rows = [row for row in outcome.rows if row.run == name]
        marks = tuple(Mark(row.steps, row.gap, f"{row.steps} steps: {row.gap:+.4f}") for row in rows)
        series.append(Series(f"{name} ({rows[0].routing})", style, shape, marks, joined=True))
    axes = Axes(
        "Steps of finetuning",
        "Validation loss of finetuned subnets above the same architectures from scratch",
        "steps",
        "nats a token above from-scratch",
    )
    style = (Path(pipeline.__file__).parents[1] / "report" / "style.css").read_text()
    return (
        f"<!doctype html><meta charset=utf-8><title>Finetuning</title><style>{style}</style>{front_chart(axes, series)}"
    )


def main() -> None:
    """Train, print the table, keep the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--run", type=Path, action="append", required=True, help="folder of a trained supernet; repeatable"
    )
    parser.add_argument("--archs", type=int, default=3, help="how many random architectures")
    parser.add_argument("--steps", default="25,50,100,200,400,800", help="numbers of steps, rising")
    parser.add_argument("--scratch-steps", type=int, default=None, help="default: the updates of [training]")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the JSON and the page")
    parser.add_argument("--json", action="store_true", help="print the JSON instead of the table")
    options = parser.parse_args()
    runs = [pipeline.open_run(root) for root in options.run]
    if len(options.run) > len(STYLES) or len({root.name for root in options.run}) < len(options.run):
        parser.error(f"at most {len(STYLES)} run folders, each of another name")
    cards = [run.supernet_card() for run in runs]
    if len({(card.corpus_sha256, card.tokenizer_sha256, card.space_sha256) for card in cards}) > 1:
        parser.error("the run folders differ in corpus, tokenizer or search space; their losses cannot be compared")
    outcome = measure(runs, options.archs, [int(x) for x in options.steps.split(",")], options.scratch_steps)
    write_record(options.out / "finetune_curve.json", outcome)
    atomic_write(options.out / "finetune_curve.html", curve(outcome))
    print(outcome.model_dump_json() if options.json else table(outcome))


if __name__ == "__main__":
    main()
