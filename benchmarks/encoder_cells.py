"""The nets by which a supernet of encoders is judged: as inherited from it, and trained alone.

In: a run folder that was trained. Out: a `Cell` for each net; finished ones are read.
"""

from collections.abc import Iterable
from typing import cast

import numpy as np
from mosdeploy.pipeline.subnet_teaching import teaching
from mosdeploy.pipeline.subnet_training import SubnetTraining
from walk_cells import kept

from mosdeploy.cli.progress import PROGRESS
from mosdeploy.data.batches import ordered_batches
from mosdeploy.pipeline.finetune import FinetuneOptions, alone
from mosdeploy.record import Record
from mosdeploy.run_folder.trained_run import TrainedRun
from mosdeploy.spaces.encoder import EncoderArch
from mosdeploy.training.distributed import SINGLE_PROCESS
from mosdeploy.training.validation import validation_loss

ALONE = "alone"
ARCH_SEED = 2026


class Cell(Record):
    """One net and what it came from: a way to train its supernet, or `alone`; its validation loss,
    in nats a masked piece, or as the task has it. `seconds` are of the training, the supernet's
    whole.
    """

    way: str
    net: str
    seed: int
    arch: EncoderArch
    loss: float
    seconds: float


def nets(state: TrainedRun, number: int) -> dict[str, EncoderArch]:
    """The architectures that are judged, the same for every seed and way."""
    space = state.config.space
    rng = np.random.default_rng(ARCH_SEED)
    drawn = {f"random {i + 1}": space.sample(rng) for i in range(number)}
    chosen = {"largest": space.largest, "smallest": space.smallest, **drawn}
    return {name: cast("EncoderArch", arch) for name, arch in chosen.items()}


def inherited(
    state: TrainedRun, way: str, seed: int, number: int, seconds: float
) -> Iterable[Cell]:
    """What subnets have from one supernet, whose training took so long."""
    valid = ordered_batches(state.validation_set(len(state.data.valid)))
    for name, arch in nets(state, number).items():

        def judge(name: str = name, arch: EncoderArch = arch) -> Cell:
            loss = validation_loss(state.subnet(arch), valid)
            return Cell(way=way, net=name, seed=seed, arch=arch, loss=loss, seconds=seconds)

        yield kept(state.files.root / "cells" / f"{arch.key}.json", Cell, judge)


def by_itself(state: TrainedRun, seed: int, number: int) -> Iterable[Cell]:
    """The same nets trained alone from the teacher's slices, in the folder of a supernet."""
    training = alone(state.config.training, state.config.finetune, FinetuneOptions())
    for name, arch in nets(state, number).items():
        taught = teaching(state, arch, PROGRESS)
        one = SubnetTraining(state, arch, "from-teacher", training, taught)
        card = one.run(SINGLE_PROCESS, PROGRESS)
        yield Cell(
            way=ALONE, net=name, seed=seed, arch=arch, loss=card.loss, seconds=card.train_seconds
        )
