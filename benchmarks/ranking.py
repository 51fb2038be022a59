"""Which number of an inherited subnet tells how good it will be once it is trained on, and how
short the supernet may be.

On the embedded corpus of `make demo`: supernets of several lengths; in each the same random
architectures, judged as inherited (validation loss, label-smoothed loss, BLEU and chrF of greedy
outputs) and trained on for some steps. Then Kendall's tau, over the architectures, between each of
these numbers and the BLEU and chrF that they come to, on validation pairs. The test pairs stay out
of it. Each supernet is a run folder of its own, and each architecture a line in it: a killed run
goes on where it was.

    python benchmarks/ranking.py --dir runs/ranking --json benchmarks/ranking.json
"""

import argparse
import json
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from provenance import command, versions
from scipy.stats import kendalltau

import mosdeploy
from mosdeploy.cli.printing import table
from mosdeploy.data.batches import ordered_batches
from mosdeploy.pipeline.run import open_run
from mosdeploy.pipeline.subnets import select_subnet
from mosdeploy.pipeline.trained_run import TrainedRun, trained_run
from mosdeploy.record import Record
from mosdeploy.spaces.genes import ArchConfig
from mosdeploy.storage import append_line

SMOOTHING = 0.1
JUDGES = ("loss", "smoothed_loss", "BLEU", "chrF", "num_parameters")
LOWER_IS_BETTER = ("loss", "smoothed_loss")
OUTCOMES = ("BLEU", "chrF")


class Judged(Record):
    """One architecture: its size, what it inherits, and what it came to."""

    arch: str
    num_parameters: int
    inherited: dict[str, float]
    trained: dict[str, float]


def main() -> None:
    """Train and judge what is missing, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, required=True, help="run folders are kept here")
    parser.add_argument("--json", type=Path, help="where the results go")
    parser.add_argument("--supernet-steps", type=int, nargs="+", default=[50, 100, 200, 400])
    parser.add_argument("--winner-steps", type=int, default=1200)
    parser.add_argument("--archs", type=int, default=12)
    parser.add_argument("--pairs", type=int, default=400, help="validation pairs to judge on")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    args = parser.parse_args()
    rows = []
    for seed in args.seeds:
        for steps in args.supernet_steps:
            folder = args.dir / f"{steps}-{seed}"
            judged = judge(folder, steps, seed, args)
            rows.append({"supernet_steps": steps, "seed": seed, **taus(judged)})
            print(rows[-1], flush=True)
    header = list(rows[0])
    print(table(header, [[str(row[name]) for name in header] for row in rows]))
    if args.json:
        facts = {
            "command": command(),
            "versions": versions(["mosdeploy", "torch", "scipy"]),
            "winner_steps": args.winner_steps,
            "archs": args.archs,
            "rows": rows,
        }
        args.json.write_text(json.dumps(facts, indent=2) + "\n")


def judge(folder: Path, steps: int, seed: int, args: argparse.Namespace) -> list[Judged]:
    """A supernet of so many steps, and each architecture as inherited and as trained on."""
    if not (folder / "mosdeploy.toml").exists():
        mosdeploy.init(folder, device="local")
        _edit(folder / "mosdeploy.toml", steps, seed)
    run = mosdeploy.open_run(folder)
    run.train()
    path = folder / "judged.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    found = {judged.arch: judged for judged in map(Judged.model_validate_json, lines)}
    space = run.config.space
    rng = np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(args.archs)]
    for arch in archs:
        if arch.key in found:
            continue
        arch_path = folder / f"{arch.key}.json"
        arch_path.write_text(arch.model_dump_json())
        run.finetune(str(arch_path), steps=args.winner_steps)
        state = trained_run(open_run(folder))
        found[arch.key] = Judged(
            arch=arch.key,
            num_parameters=state.spec.num_parameters(arch),
            inherited=scores(state, arch, "inherited", args.pairs),
            trained=scores(state, arch, "finetuned", args.pairs),
        )
        append_line(path, found[arch.key])
    return [found[arch.key] for arch in archs]


def scores(state: TrainedRun, arch: ArchConfig, weights: str, num_pairs: int) -> dict[str, float]:
    """Losses, BLEU and chrF of a subnet on validation pairs."""
    subnet = select_subnet(state, arch, weights).subnet.eval()
    batches = ordered_batches(state.validation_set(num_pairs), 4096)
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
    # the same pairs, for the losses as for the metrics
    valid = state.data.valid
    rows = np.sort(np.random.default_rng(1).permutation(len(valid))[:num_pairs])
    examples = state.scored([valid[row] for row in rows], state.config.workload)
    return losses | examples.evaluate(subnet)


def taus(judged: list[Judged]) -> dict[str, Any]:
    """Kendall's tau of each judge with each outcome; positive where the better is called better."""
    row: dict[str, Any] = {}
    for outcome in OUTCOMES:
        truth = [one.trained[outcome] for one in judged]
        for judge_name in JUDGES:
            values = [
                one.num_parameters if judge_name == "num_parameters" else one.inherited[judge_name]
                for one in judged
            ]
            sign = -1 if judge_name in LOWER_IS_BETTER else 1
            tau = kendalltau([sign * value for value in values], truth).statistic
            row[f"{judge_name} to {outcome}"] = round(float(tau), 3)
    row["mean trained BLEU"] = round(mean(one.trained["BLEU"] for one in judged), 2)
    row["best trained BLEU"] = round(max(one.trained["BLEU"] for one in judged), 2)
    return row


def _edit(path: Path, steps: int, seed: int) -> None:
    """Steps and seed of the supernet, warmed up over a sixth as the demo is."""
    text = path.read_text()
    text = text.replace("steps = 150 ", f"steps = {steps} ", 1)
    text = text.replace(
        "warmup_steps = 25",
        f'warmup_steps = {steps // 6}\nseed = {seed}\namp = "none"\nthreads = 1',
        1,
    )
    path.write_text(text)


if __name__ == "__main__":
    main()
