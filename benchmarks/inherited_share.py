"""How much of its inherited weights a subnet should keep when it is trained on alone.

    python benchmarks/inherited_share.py --run runs/by-hand-en-de-long/supernet-1-1-1.16 --json

--run is a run folder with a trained supernet and the winner of a search, such as by_hand.py leaves.
The winner is trained for --steps, each time from the same seed: from scratch, from fresh matrices
that are as small as those of a mixture, from all of the inherited ones, and from each of --shares
of these, the rest fresh (`[finetune] inherited_share`). Validation losses are read four times on
the way.
Finished trainings are cells in RUN/shares and are not done again; two processes may each make some
of them.
"""

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch
from provenance import Provenance, provenance
from walk_cells import check_options, kept

from mosdeploy.config.sections import FinetuneConfig
from mosdeploy.data.batches import Batches, ordered_batches
from mosdeploy.pipeline.finetune import FinetuneOptions, alone
from mosdeploy.record import Record
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run
from mosdeploy.spaces.translation import TranslationArch
from mosdeploy.storage import write_record
from mosdeploy.training.perturb import shrink_and_perturb
from mosdeploy.training.trainer import TrainingJob, train

HERE = Path(__file__).parent
PACKAGES = ("torch", "numpy")
SHORT_WARMUP = 50
"""A training's steps over those in which its rate rises, for the rows that say so; else 10."""


class Start(Record):
    """Factors of the inherited and of the fresh matrices, and how the rate rises."""

    inherited: float
    fresh: float
    warmup: int = 10

    @property
    def name(self) -> str:
        """For the table."""
        parts = {"inherited": self.inherited, "fresh": self.fresh}
        mixed = " + ".join(f"{share:g} {part}" for part, share in parts.items() if share)
        return mixed if self.warmup == 10 else f"{mixed}, {1 / self.warmup:.0%} warm-up"


class Curve(Record):
    """Validation losses of one training, in nats a token, by step."""

    start: Start
    losses: dict[int, float]


class Outcome(Provenance):
    """What inherited_share.json holds."""

    arch: TranslationArch
    supernet_steps: int
    steps: int
    seed: int
    curves: tuple[Curve, ...]


def curve(
    state: TrainedRun, arch: TranslationArch, start: Start, options: argparse.Namespace
) -> Curve:
    """One training."""
    print(start.name, file=sys.stderr, flush=True)
    config = state.config
    usual = alone(config.training, FinetuneConfig(), FinetuneOptions(steps=options.steps))
    changes = {"warmup_steps": options.steps // start.warmup, "validate_every": options.steps // 4}
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
    losses = {x["step"]: x["subnet_loss"] for x in lines if x.get("subnet_loss") is not None}
    return Curve(start=start, losses=losses)


def table(outcome: Outcome) -> str:
    """Markdown."""
    steps = list(outcome.curves[0].losses)
    lines = [
        f"Validation loss of the winner, {outcome.supernet_steps} steps of the supernet:",
        "",
        f"| matrices at the start | {' | '.join(f'{step:,} steps' for step in steps)} |",
        "|---" * (len(steps) + 1) + "|",
    ]
    for one in outcome.curves:
        losses = " | ".join(f"{one.losses[step]:.3f}" for step in steps)
        lines.append(f"| {one.start.name} | {losses} |")
    return "\n".join(lines)


def main() -> None:
    """Train whatever is not trained yet, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="a run folder of by_hand.py")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.6, 0.4])
    parser.add_argument("--json", action="store_true", help="keep the results")
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
    curves = [
        kept(
            folder / f"{x.name.replace(' ', '-')}.json",
            Curve,
            partial(curve, state, arch, x, options),
        )
        for x in starts
    ]
    outcome = Outcome(
        **provenance(PACKAGES),
        arch=arch,
        supernet_steps=state.card.steps,
        steps=options.steps,
        seed=state.config.training.seed,
        curves=tuple(curves),
    )
    print(table(outcome))
    if options.json:
        write_record(HERE / "inherited_share.json", outcome)


if __name__ == "__main__":
    main()
