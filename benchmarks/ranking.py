"""Which number of a subnet tells how good it will be once it is trained on, and how short the
supernet may be.

On the embedded corpus of `make demo`, or another: supernets of several lengths; in each the same
random architectures of about one size, each trained on alone, all for the same time. They are
judged as inherited (validation loss, label-smoothed loss, BLEU and chrF of greedy outputs), by
their number of parameters, and by the validation loss after a share of their own steps. Of each of
these numbers the table has Kendall's tau, over the architectures, with the loss, BLEU and chrF that
they come to, and what the one comes to that it would choose, beside the mean and the best of all.
With several seeds also against the mean of what they come to with each; there --judges tells how
long the supernet has to be, and what a training with another seed tells is the bound. All on
validation pairs. Each supernet is a run folder of its own, and each architecture a line in it: a
killed run goes on where it was.

    python benchmarks/ranking.py --dir runs/ranking --seeds 1 2 --judges 800 3200 --json FILE
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from by_hand_limits import run_options
from provenance import Provenance, provenance
from ranking_report import (
    FINAL,
    TRAINED,
    UNTRAINED,
    Found,
    Inherited,
    Judged,
    Ranked,
    print_table,
    ranked,
    reached,
)
from walk_cells import write_run_file

import mosdeploy
from mosdeploy.data.batches import ordered_batches
from mosdeploy.recipes import read_recipe
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.subnets import select_subnet
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run
from mosdeploy.spaces.genes import ArchConfig
from mosdeploy.storage import append_line, write_record
from mosdeploy.training.log import LogLine

SMOOTHING = 0.1
SEPARATE = 50
"""Steps between two validations of them."""


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
    parser.add_argument(
        "--judges", type=int, nargs="+", default=[], help="steps of supernets that judge alone"
    )
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
    judged = {
        (steps, seed): judge(args.dir / f"{steps}-{seed}", steps, seed, args)
        for seed in args.seeds
        for steps in args.supernet_steps
    }
    rows = list[Ranked]()
    for (steps, seed), archs in judged.items():
        judges = {**UNTRAINED, **TRAINED, **FINAL}
        rows += ranked(steps, seed, judges, archs, reached([archs]), (seed,))
    if len(args.seeds) > 1:
        rows += across_seeds(judged, args)
    print_table(rows)
    if args.json:
        packages = ("torch", "scipy", "sacrebleu")
        named = {f"{steps}-{seed}": archs for (steps, seed), archs in judged.items()}
        write_record(args.json, Outcome(**provenance(packages), rows=tuple(rows), judged=named))


def across_seeds(
    judged: Mapping[tuple[int, int], Sequence[Judged]], args: argparse.Namespace
) -> list[Ranked]:
    """What judges of each seed are worth: inherited weights for the mean of all seeds, and what
    nets come to for that of the others.
    """
    first = args.supernet_steps[0]
    of_seed = {seed: judged[first, seed] for seed in args.seeds}
    of_all = reached(list(of_seed.values()))
    rows = list[Ranked]()
    for seed, archs in of_seed.items():
        others = tuple(x for x in args.seeds if x != seed)
        of_others = reached([of_seed[x] for x in others])
        rows += ranked(first, seed, FINAL, archs, of_others, others)
        for steps in (*args.supernet_steps, *args.judges):
            found = judged.get((steps, seed)) or inherited(
                args.dir / f"{steps}-{seed}", steps, seed, args
            )
            rows += ranked(steps, seed, UNTRAINED, found, of_all, tuple(args.seeds))
    return rows


def judge(folder: Path, steps: int, seed: int, args: argparse.Namespace) -> tuple[Judged, ...]:
    """A supernet of so many steps, and each architecture as inherited and as trained on."""
    run = supernet(folder, steps, seed, args)
    return line_each(folder / "judged.jsonl", Judged, run, args, judge_one)


def inherited(
    folder: Path, steps: int, seed: int, args: argparse.Namespace
) -> tuple[Inherited, ...]:
    """The same without a training of each."""
    run = supernet(folder, steps, seed, args)
    return line_each(folder / "inherited.jsonl", Inherited, run, args, inherited_one)


def supernet(folder: Path, steps: int, seed: int, args: argparse.Namespace) -> mosdeploy.RunFolder:
    """One of so many steps, trained."""
    options = run_options(args, seed, steps)
    options["training"]["validate_every"] = SEPARATE
    write_run_file(folder, read_recipe("tiny"), options)
    run = mosdeploy.open_run(folder)
    run.train()
    return run


def line_each(
    path: Path,
    record: type[Found],
    run: mosdeploy.RunFolder,
    args: argparse.Namespace,
    make: Callable[[mosdeploy.RunFolder, ArchConfig], Found],
) -> tuple[Found, ...]:
    """A record for each architecture, made now if the file has no line of it yet."""
    lines = path.read_text().splitlines() if path.exists() else []
    found = {one.arch: one for one in map(record.model_validate_json, lines)}
    archs = random_archs(trained_run(open_run(run.root)), args)
    for arch in archs:
        if arch.key not in found:
            found[arch.key] = make(run, arch)
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
        **dict(inherited_one(run, arch)),
        steps=lines[-1].step,
        losses=validated,
        trained=scores(state, arch, "finetuned"),
    )


def inherited_one(run: mosdeploy.RunFolder, arch: ArchConfig) -> Inherited:
    """Judge one architecture by what it inherits."""
    state = trained_run(open_run(run.root))
    return Inherited(
        arch=arch.key,
        num_parameters=state.spec.num_parameters(arch),
        inherited=scores(state, arch, "inherited"),
    )


def scores(state: TrainedRun, arch: ArchConfig, weights: str) -> dict[str, float]:
    """Losses, BLEU and chrF of a subnet on validation pairs."""
    subnet = select_subnet(state, arch, weights).subnet.eval()
    batches = ordered_batches(state.validation_set(len(state.data.valid)))
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


if __name__ == "__main__":
    main()
