"""Whether a short training tells which architecture a long one will make best.

    python benchmarks/by_hand_early.py --dir runs/by-hand-catalog --seeds 1 2 --json

After `by_hand.py` with the same folder: each architecture that was picked by hand and trained long
there is trained for a few steps from its inherited weights. Printed is Kendall's tau between each
judge and the test BLEU of the long training, among the architectures of one limit. Loss is that on
validation pairs, in nats a token; BLEU is greedy.
"""

import argparse
import shutil
from collections import defaultdict
from pathlib import Path

from by_hand_report import Cell
from provenance import Provenance, provenance
from scipy.stats import kendalltau
from walk_cells import Scores, judged, kept, markdown

import mosdeploy
from mosdeploy.record import Record
from mosdeploy.spaces.translation_arch import TranslationArch
from mosdeploy.storage import read_record, write_record

RESULT = Path(__file__).with_suffix(".json")
PACKAGES = ("mosdeploy", "torch", "numpy", "sacrebleu")
NOT_TRAINED = "search", "subnets", "cells", "winners"


class Row(Record):
    """One architecture of one limit and seed: what judges say, and what it came to."""

    seed: int
    limit_ms: float
    arch_key: str
    inherited_loss: float
    early_loss: dict[int, float]
    early_bleu: dict[int, float]
    long_steps: int
    long_loss: float
    long_bleu: float


class Outcome(Provenance):
    """What by_hand_early.json holds."""

    rows: tuple[Row, ...]


def rows_of(root: Path, seed: int, steps: list[int]) -> list[Row]:
    """Short trainings of one seed, in a copy of its folder; finished ones are read."""
    source = root / f"seed-{seed}"
    folder = root / f"early-{seed}"
    if not folder.exists():
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns(*NOT_TRAINED))
    rows = []
    for path in sorted((source / "cells").glob("by-hand-*.json")):
        cell = read_record(Cell, path, "by_hand.py")
        file = (folder / "archs" / f"{cell.scores.arch_key}.json").absolute()
        inherited = _scores(folder, file, 0)
        early = {count: _scores(folder, file, count) for count in steps}
        rows.append(
            Row(
                seed=seed,
                limit_ms=cell.limit_ms,
                arch_key=cell.scores.arch_key,
                inherited_loss=inherited.loss,
                early_loss={count: scores.loss for count, scores in early.items()},
                early_bleu={
                    count: scores.metrics["valid greedy BLEU"] for count, scores in early.items()
                },
                long_steps=cell.steps,
                long_loss=cell.scores.loss,
                long_bleu=cell.scores.metrics["test greedy BLEU"],
            )
        )
    return rows


def _scores(folder: Path, file: Path, steps: int) -> Scores:
    def train() -> Scores:
        if not steps:
            return judged(folder, str(file), "inherited")
        card = mosdeploy.open_run(folder).finetune(str(file), steps=steps)
        return judged(folder, str(file), card.weights)

    arch = TranslationArch.model_validate_json(file.read_text())
    return kept(folder / "cells" / f"{arch.key}-{steps}.json", Scores, train)


def table(rows: list[Row], steps: list[int]) -> str:
    """Markdown: mean tau of each judge over limits and seeds that have three architectures."""
    groups = defaultdict(list)
    for row in rows:
        groups[row.limit_ms, row.seed].append(row)
    judges = {
        "inherited loss": lambda row: -row.inherited_loss,
        **{f"loss after {n} steps": lambda row, n=n: -row.early_loss[n] for n in steps},
        **{f"validation BLEU after {n} steps": lambda row, n=n: row.early_bleu[n] for n in steps},
        "loss of the long training": lambda row: -row.long_loss,
    }
    lines = []
    for name, judge in judges.items():
        taus = [
            kendalltau([judge(row) for row in group], [row.long_bleu for row in group]).statistic
            for group in groups.values()
            if len(group) > 2
        ]
        lines.append([name, f"{sum(taus) / len(taus):.2f}", f"{min(taus):.2f}", len(taus)])
    return markdown(["judge", "tau, mean", "lowest", "groups"], lines)


def main() -> None:
    """Train what is missing, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, required=True, help="the folder of by_hand.py")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, nargs="+", default=[300, 600])
    parser.add_argument("--json", action="store_true", help=f"write {RESULT.name}")
    options = parser.parse_args()
    rows = [row for seed in options.seeds for row in rows_of(options.dir, seed, options.steps)]
    print(table(rows, options.steps))
    if options.json:
        outcome = Outcome(
            **provenance(PACKAGES),
            rows=tuple(rows),
        )
        write_record(RESULT, outcome)


if __name__ == "__main__":
    main()
