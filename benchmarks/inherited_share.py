"""How much of its inherited weights a subnet should keep when it is trained on alone.

    python benchmarks/inherited_share.py --run runs/by-hand/supernet-1-1 --json

--run is a run folder with a trained supernet and one winner, such as by_hand.py leaves. The winner
is trained for --steps from one seed: from scratch, from small fresh matrices, from all that it
inherits, and from each of --shares of that, the rest fresh (`[finetune] inherited_share`).
Validation losses are read four times on the way. A killed run goes on with the same command.
"""

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path

import torch
from results import add_result_options, finish
from walk_cells import check_options, kept

from mosdeploy.config.sections import FinetuneConfig
from mosdeploy.data.batches import Batches, ordered_batches
from mosdeploy.pipeline.finetune import FinetuneOptions, alone
from mosdeploy.record import Record
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run
from mosdeploy.spaces.translation import TranslationArch
from mosdeploy.training.trainer import TrainingJob, shrink_and_perturb, train

PACKAGES = ("torch", "numpy")
SHORT_WARMUP = 50
"""Steps of a training over those in which its rate rises, for the rows that say so; else 10."""


class Start(Record):
    """Factors of the inherited and of the fresh matrices, and how the rate rises."""

    inherited: float
    fresh: float
    warmup: int = 10

    @property
    def name(self) -> str:
        """The row's name."""
        parts = {"inherited": self.inherited, "fresh": self.fresh}
        mixed = " + ".join(f"{share:g} {part}" for part, share in parts.items() if share)
        return mixed if self.warmup == 10 else f"{mixed}, {1 / self.warmup:.0%} warm-up"


class Curve(Record):
    """Validation losses of one training by step, in nats a token."""

    losses: dict[int, float]


def curve(state: TrainedRun, arch: TranslationArch, start: Start, steps: int) -> Curve:
    """Train from one start."""
    config = state.config
    usual = alone(config.training, FinetuneConfig(), FinetuneOptions(steps=steps))
    changes = {"warmup_steps": steps // start.warmup, "validate_every": steps // 4}
    training = usual.model_copy(update=changes)
    net = state.subnet(arch)
    fresh = state.family.fresh_subnet(
        arch, config.space, state.card.vocab_size, config.supernet, training.seed
    )
    if start.inherited:
        shrink_and_perturb(net, fresh, start.inherited)
    else:
        net = fresh
        with torch.no_grad():
            for weight in net.parameters():
                if weight.dim() > 1:
                    weight.mul_(start.fresh)
    batches = Batches(state.tokenized(state.data.train), training.tokens_per_batch, training.seed)
    valid = ordered_batches(state.tokenized(state.data.valid))
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        train(net, batches, valid, TrainingJob(training, Path(folder) / "state.pt", log, "a trial"))
        lines = [json.loads(line) for line in log.read_text().splitlines()]
    return Curve(losses={x["step"]: x["subnet_loss"] for x in lines if x.get("subnet_loss")})


def main() -> None:
    """Train what is missing, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="a run folder of by_hand.py")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.6, 0.4])
    add_result_options(parser)
    options = parser.parse_args()
    state = trained_run(open_run(options.run))
    (path,) = (options.run / "winners").glob("*.json")
    arch = TranslationArch.model_validate_json(path.read_text())
    starts = [
        Start(inherited=0, fresh=1),
        Start(inherited=0, fresh=0.6),
        Start(inherited=1, fresh=0, warmup=SHORT_WARMUP),
        *(Start(inherited=share, fresh=round(1 - share, 6)) for share in options.shares),
        Start(inherited=0.4, fresh=0.6, warmup=SHORT_WARMUP),
    ]
    folder = options.run / "shares"
    check_options(folder, steps=options.steps)
    rows = []
    for start in starts:
        cell = folder / f"{start.name.replace(' ', '-')}.json"
        losses = kept(cell, Curve, partial(curve, state, arch, start, options.steps)).losses
        rows.append([start.name, *(f"{loss:.3f}" for loss in losses.values())])
    header = ["matrices at the start", *(f"{step:,} steps" for step in losses)]
    finish(options, PACKAGES, header, rows, [state.config.training.seed])


if __name__ == "__main__":
    main()
