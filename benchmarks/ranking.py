"""Which number of a subnet tells how good it will be once it is trained on, and how short the
supernet may be.

On the embedded corpus of `make demo`, or another: supernets of several lengths; in each the same
random architectures of about one size, each trained on alone, all for the same time. They are
judged as inherited (validation loss, label-smoothed loss, BLEU and chrF of greedy outputs), by
their number of parameters, and by the validation loss after a share of their own steps. Of each of
these numbers the table has Kendall's tau, over the architectures, with the loss, BLEU and chrF that
they come to, and what the one comes to that it would choose, beside the mean and the best of all.
All on validation pairs. Each supernet is a run folder of its own, and each architecture a line in
it: a killed run goes on where it was.

    python benchmarks/ranking.py --dir runs/ranking --json benchmarks/ranking.json
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from by_hand_limits import run_options
from provenance import Provenance, provenance
from scipy.stats import kendalltau
from walk_cells import write_run_file

import mosdeploy
from mosdeploy.cli.printing import table
from mosdeploy.data.batches import ordered_batches
from mosdeploy.pipeline.run import open_run
from mosdeploy.pipeline.subnets import select_subnet
from mosdeploy.pipeline.trained_run import TrainedRun, trained_run
from mosdeploy.recipes import read_recipe
from mosdeploy.record import Record
from mosdeploy.spaces.genes import ArchConfig
from mosdeploy.storage import append_line, write_record
from mosdeploy.training.log import LogLine

SMOOTHING = 0.1
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Of an architecture's own steps, after which its validation loss judges it."""
SEPARATE = 50
"""Steps between two validations of them."""


class Judged(Record):
    """One architecture: its size and steps, what it inherits, validation losses in the course of
    its training by step, and what it came to.
    """

    arch: str
    num_parameters: int
    steps: int
    inherited: dict[str, float]
    losses: dict[int, float]
    trained: dict[str, float]

    def loss_after(self, share: float) -> float:
        """The last validation loss within a share of the steps."""
        return self.losses[max(step for step in self.losses if step <= share * self.steps)]


JUDGES: dict[str, Callable[[Judged], float]] = {
    "inherited loss": lambda one: one.inherited["loss"],
    "inherited smoothed loss": lambda one: one.inherited["smoothed_loss"],
    "inherited BLEU": lambda one: -one.inherited["BLEU"],
    "inherited chrF": lambda one: -one.inherited["chrF"],
    "parameters": lambda one: -one.num_parameters,
    **{
        f"loss after {share:.0%} of its steps": lambda one, share=share: one.loss_after(share)
        for share in SHARES
    },
}
"""The lower, the better."""


class Ranked(Record):
    """How well one judge ranks the architectures of one supernet.

    Attributes
    ----------
    tau
        Kendall's, with each outcome; positive where the better is called better.
    chosen, average, best
        Each outcome: of the architecture that the judge chooses, and over all of them.
    """

    supernet_steps: int
    seed: int
    judge: str
    tau: dict[str, float]
    chosen: dict[str, float]
    average: dict[str, float]
    best: dict[str, float]


class Outcome(Provenance):
    """What ranking.json holds."""

    rows: tuple[Ranked, ...]
    judged: dict[str, tuple[Judged, ...]]


def main() -> None:
    """Train and judge what is missing, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a parallel corpus, SOURCE-TARGET")
    parser.add_argument("--dir", type=Path, required=True, help="run folders are kept here")
    parser.add_argument("--json", type=Path, help="where the results go")
    parser.add_argument("--supernet-steps", type=int, nargs="+", default=[200])
    parser.add_argument("--finetune-steps", type=int, default=1200, help="of the slowest subnet")
    parser.add_argument("--inherited-share", type=float, default=0.4, help="[finetune]")
    parser.add_argument("--dropout", type=float, default=0.1, help="[supernet], of all trainings")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--archs", type=int, default=12)
    parser.add_argument(
        "--parameters", type=float, nargs=2, default=[0.9e6, 1.1e6], help="least and most of each"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    args = parser.parse_args()
    rows = list[Ranked]()
    judged = dict[str, tuple[Judged, ...]]()
    for seed in args.seeds:
        for steps in args.supernet_steps:
            name = f"{steps}-{seed}"
            judged[name] = judge(args.dir / name, steps, seed, args)
            rows += ranked(judged[name], steps, seed)
    print_table(rows)
    if args.json:
        packages = ("torch", "scipy", "sacrebleu")
        write_record(args.json, Outcome(**provenance(packages), rows=tuple(rows), judged=judged))


def judge(folder: Path, steps: int, seed: int, args: argparse.Namespace) -> tuple[Judged, ...]:
    """A supernet of so many steps, and each architecture as inherited and as trained on."""
    options = run_options(args, seed, steps)
    options["training"]["validate_every"] = SEPARATE
    write_run_file(folder, read_recipe("tiny"), options)
    run = mosdeploy.open_run(folder)
    run.train()
    path = folder / "judged.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    found = {one.arch: one for one in map(Judged.model_validate_json, lines)}
    archs = random_archs(trained_run(open_run(folder)), args)
    for arch in archs:
        if arch.key not in found:
            found[arch.key] = judge_one(run, arch)
            append_line(path, found[arch.key])
    return tuple(found[arch.key] for arch in archs)


def random_archs(state: TrainedRun, args: argparse.Namespace) -> list[ArchConfig]:
    """Different ones within --parameters, the same for every supernet."""
    least, most = args.parameters
    rng = np.random.default_rng(0)
    found = dict[str, ArchConfig]()
    while len(found) < args.archs:
        arch = state.config.space.sample(rng)
        if least <= state.spec.num_parameters(arch) <= most:
            found[arch.key] = arch
    return list(found.values())


def judge_one(run: mosdeploy.RunFolder, arch: ArchConfig) -> Judged:
    """Train one architecture on, and judge it before and after."""
    path = run.root / f"{arch.key}.json"
    path.write_text(arch.model_dump_json())
    run.finetune(str(path))
    state = trained_run(open_run(run.root))
    log = state.files.subnet_log_path(arch.key, "finetuned").read_text().splitlines()
    lines = [LogLine.model_validate_json(line) for line in log]
    validated = {line.step: line.subnet_loss for line in lines if line.subnet_loss is not None}
    return Judged(
        arch=arch.key,
        num_parameters=state.spec.num_parameters(arch),
        steps=lines[-1].step,
        inherited=scores(state, arch, "inherited"),
        losses=validated,
        trained=scores(state, arch, "finetuned"),
    )


def scores(state: TrainedRun, arch: ArchConfig, weights: str) -> dict[str, float]:
    """Losses, BLEU and chrF of a subnet on validation pairs."""
    subnet = select_subnet(state, arch, weights).subnet.eval()
    batches = ordered_batches(state.validation_set(len(state.data.valid)), 4096)
    num_targets = sum(batch.num_targets for batch in batches)
    with torch.no_grad():
        logits = [subnet(*batch.inputs()) for batch in batches]
    losses = {
        name: sum(
            batch.loss(part, smoothing).item() for batch, part in zip(batches, logits, strict=True)
        )
        / num_targets
        for name, smoothing in (("loss", 0.0), ("smoothed_loss", SMOOTHING))
    }
    examples = state.scored(state.data.valid, state.config.workload)
    return losses | examples.evaluate(subnet)


def ranked(judged: tuple[Judged, ...], steps: int, seed: int) -> list[Ranked]:
    """What each judge is worth."""
    outcomes = {"loss": min, "BLEU": max, "chrF": max}
    reached = {name: [one.trained[name] for one in judged] for name in outcomes}
    found = []
    for name, judgement in JUDGES.items():
        values = [judgement(one) for one in judged]
        chosen = int(np.argmin(values))
        tau = {
            outcome: kendalltau(values, reached[outcome]).statistic * (1 if best is min else -1)
            for outcome, best in outcomes.items()
        }
        found.append(
            Ranked(
                supernet_steps=steps,
                seed=seed,
                judge=name,
                tau={outcome: float(value) for outcome, value in tau.items()},
                chosen={outcome: all_[chosen] for outcome, all_ in reached.items()},
                average={outcome: mean(all_) for outcome, all_ in reached.items()},
                best={outcome: outcomes[outcome](all_) for outcome, all_ in reached.items()},
            )
        )
    return found


def print_table(rows: list[Ranked]) -> None:
    """A line for each supernet and judge."""
    header = ["supernet", "seed", "judge", "tau to loss", "to BLEU", "to chrF", "loss", "BLEU"]
    lines = [
        [
            str(row.supernet_steps),
            str(row.seed),
            row.judge,
            *(f"{row.tau[name]:.2f}" for name in ("loss", "BLEU", "chrF")),
            *(
                f"{row.chosen[name]:.{digits}f} ({row.average[name]:.{digits}f}, "
                f"{row.best[name]:.{digits}f})"
                for name, digits in (("loss", 3), ("BLEU", 1))
            ),
        ]
        for row in rows
    ]
    print(table(header, lines))
    print("\nloss, BLEU: of the one chosen (mean and best of all)")


if __name__ == "__main__":
    main()
