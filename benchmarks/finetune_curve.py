"""How many steps of finetuning bring an inherited subnet to what the same architecture reaches from
scratch.

    python benchmarks/finetune_curve.py --data ../shared/data/corpus/en-de --dir runs/quality

--dir and --supernet-steps are the --dir and --steps of supernet_quality.py, whose finished cells
this script goes on from: inherited weights come from its supernets, losses from scratch from its
subnets. Every architecture is finetuned for every number of steps, each a training of its own with
its own learning rates, as `mosdeploy finetune` trains. A finished training is one line of
finetune-NAME.seedN.jsonl in the folder and is not done again; a killed one goes on at its last
checkpoint. The script prints the table and writes finetune_curve.json and the curve,
finetune_curve.html, beside itself.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import altair as alt
from provenance import command, versions
from quality_cells import HERE, NUM_ARCHS, PACKAGES, SCRATCHES, Bench

from mosdeploy.config.sections import FinetuneConfig
from mosdeploy.errors import MosdeployError
from mosdeploy.families.translation.elastic import build_supernet
from mosdeploy.pipeline.finetune import FinetuneOptions, alone
from mosdeploy.record import Record, parse
from mosdeploy.spaces.translation_arch import TranslationArch
from mosdeploy.storage import (
    append_line,
    atomic_write,
    fingerprint,
    locked,
    read_lines,
    write_record,
)
from mosdeploy.supernet.checkpoint import load_supernet
from mosdeploy.supernet.extract import extract
from mosdeploy.training.trainer import TrainingJob, train

SHORT = FinetuneConfig(learning_rate_share=0.3)
"""Short trainings on from a supernet that was trained for long."""


class Point(Record):
    """One finetuning: of one of the fixed architectures, from one supernet, for so many steps."""

    inputs_sha256: str
    loss: float
    seconds: float


class Row(Record):
    """Mean validation losses (nats a token) of the architectures of one supernet, after so many
    steps each.

    `gap` is to the mean from scratch, and `closed` how much of the inherited gap is gone: 1 is all
    of it, None where the inherited subnets are no worse. `seconds` are of training, on a machine
    that was not quiet.
    """

    name: str
    steps: int
    loss: float
    gap: float
    closed: float | None
    seconds: float


class Outcome(Record):
    """What finetune_curve.json holds; `enough` is the least number of steps tried that leaves no
    gap, by supernet.
    """

    command: str
    versions: dict[str, str]
    archs: tuple[TranslationArch, ...]
    seed: int
    scratch_steps: int
    scratch_loss: float
    rows: tuple[Row, ...]
    enough: dict[str, int | None]


def finetuned(bench: Bench, name: str, seed: int, steps: Sequence[int]) -> list[list[Point]]:
    """Points of each architecture, in the order of the steps; what is finished is not redone."""
    path = bench.dir / f"finetune-{name}.seed{seed}.jsonl"
    with locked(path.with_suffix(".lock"), MosdeployError(f"another process trains {path.stem}")):
        points = [parse(Point, json.loads(line), str(path)) for line in read_lines(path)[0]]
        found = {point.inputs_sha256: point for point in points}
        _, training = bench.sections(name, seed)
        net = load_supernet(bench.supernet_path(name, seed), build_supernet)
        batches, valid = bench.batches(training)
        rows = list[list[Point]]()
        for i, arch in enumerate(bench.archs):
            rows.append([])
            for wanted in steps:
                config = alone(training, SHORT, FinetuneOptions(steps=wanted))
                inputs_sha256 = fingerprint(bench.inputs_sha256(name, seed), arch, config)
                if inputs_sha256 not in found:
                    print(
                        f"{name}: architecture {i + 1} of {NUM_ARCHS}, {wanted} steps",
                        file=sys.stderr,
                        flush=True,
                    )
                    state_path = path.with_suffix(f".{inputs_sha256[:12]}.state")
                    job = TrainingJob(
                        config, state_path, state_path.with_suffix(".log"), inputs_sha256
                    )
                    summary = train(extract(net, arch), batches, valid, job)
                    point = Point(
                        inputs_sha256=inputs_sha256,
                        loss=summary.losses["subnet_loss"],
                        seconds=summary.train_seconds,
                    )
                    append_line(path, point)
                    state_path.unlink()
                    found[inputs_sha256] = point
                rows[-1].append(found[inputs_sha256])
        return rows


def measure(bench: Bench, names: Sequence[str], seed: int, steps: Sequence[int]) -> Outcome:
    """Train whatever is not trained yet, and put the numbers together."""
    scratch = [bench.cell(name, seed) for name in SCRATCHES]
    scratch_loss = mean(cell.losses[0] for cell in scratch)
    rows = list[Row]()
    enough = dict[str, int | None]()
    for name in names:
        inherited = mean(bench.cell(name, seed).losses)
        of_archs = finetuned(bench, name, seed, steps)
        losses = [
            inherited,
            *(mean(points[i].loss for points in of_archs) for i in range(len(steps))),
        ]
        seconds = [
            0.0,
            *(mean(points[i].seconds for points in of_archs) for i in range(len(steps))),
        ]
        for at, loss, took in zip([0, *steps], losses, seconds, strict=True):
            gap = loss - scratch_loss
            closed = 1 - gap / (inherited - scratch_loss) if inherited > scratch_loss else None
            rows.append(Row(name=name, steps=at, loss=loss, gap=gap, closed=closed, seconds=took))
        enough[name] = next((row.steps for row in rows if row.name == name and row.gap <= 0), None)
    return Outcome(
        command=command(),
        versions=versions(PACKAGES),
        archs=bench.archs,
        seed=seed,
        scratch_steps=scratch[0].steps,
        scratch_loss=scratch_loss,
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
        closed = "-" if row.closed is None else f"{row.closed:.0%}"
        lines.append(f"| {row.name} | {row.steps} | {row.loss:.4f} | {row.gap:+.4f} | {closed} |")
    for name, steps in outcome.enough.items():
        said = (
            "no number of steps tried leaves no gap"
            if steps is None
            else f"{steps} steps leave no gap"
        )
        lines.append(f"\n{name}: {said}")
    return "\n".join(lines)


def curve(outcome: Outcome) -> str:
    """One HTML page with the curve: gap to from-scratch over steps, one line a run."""
    rows = [{"name": row.name, "steps": row.steps, "gap": row.gap} for row in outcome.rows]
    chart = alt.Chart(
        alt.InlineData(values=rows),
        title=f"Finetuning {len(outcome.archs)} inherited subnets: validation loss above the same "
        f"architectures from scratch ({outcome.scratch_loss:.3f})",
        width=640,
        height=360,
    )
    lines = chart.mark_line(point=True).encode(
        x=alt.X("steps:Q", title="steps"),
        y=alt.Y("gap:Q", title="nats a token above from-scratch"),
        color="name:N",
        tooltip=["name:N", "steps:Q", "gap:Q"],
    )
    return str(lines.to_html(inline=True))


def main() -> None:
    """Train, print the table, keep the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the parallel corpus")
    parser.add_argument(
        "--dir", type=Path, required=True, help="folder of the cells of supernet_quality.py"
    )
    parser.add_argument(
        "--only", default="none,neuron", help="names of supernets, of finished cells"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the cells")
    parser.add_argument(
        "--supernet-steps", type=int, default=None, help="--steps as given to supernet_quality.py"
    )
    parser.add_argument("--steps", default="50,200,800", help="numbers of steps, rising")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the JSON and the page")
    parser.add_argument("--json", action="store_true", help="print the JSON instead of the table")
    options = parser.parse_args()
    bench = Bench(options.data, options.dir, options.supernet_steps)
    names = options.only.split(",")
    try:
        outcome = measure(bench, names, options.seed, [int(x) for x in options.steps.split(",")])
    except MosdeployError as error:
        sys.exit(str(error))
    write_record(options.out / "finetune_curve.json", outcome)
    atomic_write(options.out / "finetune_curve.html", curve(outcome))
    print(outcome.model_dump_json() if options.json else table(outcome))


if __name__ == "__main__":
    main()
