"""How good inherited subnets are beside the same nets trained alone, at equal steps.

    python benchmarks/supernet_quality.py --data ../shared/data/corpus/en-de --dir runs/supernets

supernet_quality.toml says what is trained: ways to share weights and batches, each in a run folder
of its own. Eight fixed random architectures are judged by their validation loss, with inherited
weights and trained from scratch for as many steps.
"""

import argparse
from pathlib import Path
from statistics import mean
from typing import Any

from results import add_result_options, finish, spread
from walk_cells import alone_losses, check_options, inherited_losses, write_run_file

import mosdeploy
from mosdeploy.recipes import read_recipe
from mosdeploy.record import read_toml
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run

PACKAGES = ("torch", "numpy", "sentencepiece")
NUM_NETS = 8
SETTINGS = read_toml(Path(__file__).with_suffix(".toml"))
VARIANTS: dict[str, dict[str, Any]] = SETTINGS.pop("variants")


def trained(options: argparse.Namespace, name: str, seed: int) -> TrainedRun:
    """Return the run folder of a variant, trained."""
    changes = {
        section: {**keys, **VARIANTS[name].get(section, {})} for section, keys in SETTINGS.items()
    }
    source_lang, target_lang = options.data.name.split("-")
    changes["corpus"] |= {"source_lang": source_lang, "target_lang": target_lang}
    changes["corpus"] |= {x: str(options.data.absolute() / x) for x in ("train", "valid", "test")}
    changes["training"] |= {"seed": seed, "steps": options.steps}
    folder = options.dir.absolute() / f"{name}-{seed}"
    write_run_file(folder, read_recipe("tiny"), changes)
    mosdeploy.open_run(folder).train()
    return trained_run(open_run(folder))


def random_mean(losses: dict[str, float]) -> float:
    """Return the mean over the random nets."""
    return mean(loss for name, loss in losses.items() if name.startswith("random"))


def main() -> None:
    """Train what is not finished, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a parallel corpus, SOURCE-TARGET")
    parser.add_argument("--dir", type=Path, required=True, help="run folders are kept here")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=[*VARIANTS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--steps", type=int, default=4000)
    add_result_options(parser)
    options = parser.parse_args()
    check_options(options.dir, steps=options.steps)
    # the nets from scratch share the folder of the ordinary supernet
    first = trained(options, "none", options.seeds[0])
    scratch = random_mean(alone_losses(first, NUM_NETS, "scratch", steps=options.steps))
    rows = [("from scratch", "1", f"{scratch:.3f}", "-")]
    for name in options.only:
        states = [trained(options, name, seed) for seed in options.seeds]
        losses = [random_mean(inherited_losses(state, NUM_NETS)) for state in states]
        gap = spread([loss - scratch for loss in losses], 3)
        rows.append((name, str(len(losses)), f"{mean(losses):.3f}", gap))
    finish(options, PACKAGES, ("supernet", "seeds", "loss", "gap to scratch"), rows, options.seeds)


if __name__ == "__main__":
    main()
