"""How much of a walk's compute the supernet should have, and how much its winner.

For each split, with the embedded corpus of `make demo`: the supernet is trained for some steps, the
search takes the best subnet below a number of parameters, and the winner is trained on at the full
learning rate from its inherited weights. All splits take about the same time. What is compared are
scores on validation pairs; the test pairs stay out of it. Each split is a run folder of its own: a
killed run goes on where it was.

    python benchmarks/compute_split.py --dir runs/split --json benchmarks/compute_split.json
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provenance import command, versions
from walk_cells import write_run_file

import mosdeploy
from mosdeploy.cli.printing import table
from mosdeploy.recipes import read_recipe
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.subnets import select_subnet
from mosdeploy.run_folder.trained_run import trained_run

MAX_PARAMETERS = 900_000
BUDGET = 1740
"""Steps of a subnet alone that a whole walk takes: those of the demo, 200 of the supernet and 1,200
of its winner.
"""
SUPERNET_COST = 2.7
"""Steps of a subnet alone that take as long as one of the supernet, on an Intel Xeon, two cores."""


@dataclass(frozen=True)
class Split:
    """How many steps the supernet has, and what its winner then has."""

    supernet_steps: int
    seed: int

    @property
    def finetune_steps(self) -> int:
        """What is left of the budget."""
        return round(BUDGET - SUPERNET_COST * self.supernet_steps)


def main() -> None:
    """Run all splits, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="run folders are kept here")
    parser.add_argument("--json", type=Path, help="where the results go")
    parser.add_argument("--supernet-steps", type=int, nargs="+", default=[50, 100, 200, 300, 450])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    splits = [Split(steps, seed) for seed in args.seeds for steps in args.supernet_steps]
    rows = [_row(split, args.dir / f"{split.supernet_steps}-{split.seed}") for split in splits]
    header = list(rows[0])
    print(table(header, [[str(row[name]) for name in header] for row in rows]))
    if args.json:
        facts = {
            "command": command(),
            "versions": versions(["torch"]),
            "rows": rows,
        }
        args.json.write_text(json.dumps(facts, indent=2) + "\n")


def _row(split: Split, folder: Path) -> dict[str, Any]:
    kept = folder / "row.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    write_run_file(folder, read_recipe("tiny"), _options(split))
    run = mosdeploy.open_run(folder)
    supernet = run.train()
    winner = run.search(max_parameters=MAX_PARAMETERS, verify=False).winner
    card = run.finetune(steps=split.finetune_steps)
    state = trained_run(open_run(folder))
    valid = state.scored(state.data.valid, state.config.workload)
    scores = {
        weights: valid.evaluate(select_subnet(state, winner.arch, weights).subnet)
        for weights in ("inherited", "finetuned")
    }
    row = {
        "supernet_steps": split.supernet_steps,
        "finetune_steps": split.finetune_steps,
        "seed": split.seed,
        "train_s": round(supernet.train_seconds),
        "finetune_s": round(card.train_seconds),
        "winner": winner.arch.key,
        "inherited_BLEU": round(scores["inherited"]["BLEU"], 2),
        "BLEU": round(scores["finetuned"]["BLEU"], 2),
        "chrF": round(scores["finetuned"]["chrF"], 2),
        "loss": round(card.loss, 4),
    }
    kept.write_text(json.dumps(row) + "\n")
    print(row, flush=True)
    return row


def _options(split: Split) -> dict[str, dict[str, int]]:
    """Steps and seed of the training, warmed up over a sixth as the demo is."""
    steps = split.supernet_steps
    return {"training": {"steps": steps, "warmup_steps": steps // 6, "seed": split.seed}}


if __name__ == "__main__":
    main()
