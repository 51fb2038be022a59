"""Quality of encoders within a latency budget: the nets that one would pick by hand, and ours.

    python benchmarks/encoder_quality.py --data ../shared/data --dir runs/encoder-quality --json

For each task and each budget, a share of the latency of the whole teacher in int8 on this machine
(32 tokens, one thread):

- by hand, each from its part of the teacher: its first k layers; k evenly spaced layers; nets with
  fewer heads and narrower FFNs, alike in all layers: of as many layers as the budget lets be, and
  the one with the most weights. Of these, the best score on validation, and the lowest loss;
- random: an architecture that is predicted to take 90 to 100% of the budget, trained as ours is;
- ours: the winner of the search, trained from its weights in the supernet and from the teacher's
  slices; the lower loss on validation, as `mosdeploy finetune` delivers it.

All learn from one teacher of a seed for the same number of steps. The first seed tries all --rates
for each way and budget; the best on validation is taken for the other seeds. Scores are those of
torch on test. Where other programs run, --predicted takes all latencies from one predictor. A
killed run goes on with the same command.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial

from encoder_quality_hand import narrower, slowest_within, whole_layers
from encoder_quality_walk import (
    BY_HAND,
    DEEP,
    FIRST,
    LARGE,
    OURS,
    RANDOM,
    SLICES,
    SPACED,
    STEPS,
    Budget,
    Row,
    Walk,
    add_folder_options,
    latencies_ms,
    write_task,
)
from results import add_result_options, finish, spread
from walk_cells import check_options, kept

import mosdeploy
from mosdeploy.spaces.encoder import EncoderSpace

PACKAGES = ("torch", "onnxruntime", "tokenizers", "scikit-learn")
SHARES = (0.18, 0.22, 0.27, 0.333, 0.5)
"""Of the teacher's latency; a net of one whole layer takes about a sixth."""
PROFILE_SEED = 1
BEST, LEAST = "by hand, best score", "by hand, lowest loss"
FROM_SUPERNET = "random, from the supernet"


def choose_budget(options: argparse.Namespace, task: str, share: float) -> Budget:
    """Profile this machine once, and choose the nets that one would pick by hand."""
    folder = options.dir.absolute() / task / "profile"
    write_task(folder, options, task, PROFILE_SEED)
    run = mosdeploy.open_run(folder)
    run.profile(device="local")
    predictor = run.predictor("local")
    space = run.config.space
    assert isinstance(space, EncoderSpace)
    path = folder / "by-hand.jsonl"
    whole = whole_layers(space)
    times_ms = latencies_ms(options, folder, whole, path)
    limit_ms = share * times_ms[space.largest.key]
    deepest, largest = narrower(space, predictor, limit_ms)
    times_ms |= latencies_ms(options, folder, [*deepest, *largest], path)
    first = slowest_within(whole, times_ms, limit_ms)
    deep = slowest_within(deepest, times_ms, limit_ms)
    large = next((arch for arch in largest if times_ms[arch.key] <= limit_ms), None)
    nets = {
        FIRST: first,
        SPACED: first if first and len(first.layers) > 1 else None,
        DEEP: deep,
        LARGE: large if large != deep else None,
    }
    by_hand = {way: arch for way, arch in nets.items() if arch}
    return Budget(share=share, limit_ms=limit_ms, by_hand=by_hand)


def all_rows(
    options: argparse.Namespace, walks: Sequence[Walk], budgets: Sequence[Budget]
) -> Iterator[Row]:
    """Train what is missing: the first seed with all learning rates, the others with its best."""
    rates = dict[tuple[float, str], float]()
    for walk in walks:
        for budget in budgets:
            for way, arch in walk.nets(budget).items():
                key = (budget.share, way)
                row = walk.row(way, budget, arch, (rates[key],) if key in rates else options.rates)
                rates.setdefault(key, row.learning_rate)
                yield row


def chosen(rows: Sequence[Row]) -> dict[str, Row]:
    """Choose among the rows of one seed and budget, on validation."""
    by_hand = [row for row in rows if row.way in BY_HAND]
    if not by_hand:
        raise SystemExit(f"no net by hand at {rows[0].share:.3f}, seed {rows[0].seed}")
    return {
        BEST: max(by_hand, key=lambda row: (row.valid, -row.loss)),
        LEAST: min(by_hand, key=lambda row: row.loss),
        FROM_SUPERNET: next(row for row in rows if row.way == RANDOM),
        OURS: min((row for row in rows if row.way in (OURS, SLICES)), key=lambda row: row.loss),
    }


def table_rows(task: str, rows: Sequence[Row], teachers: Sequence[float]) -> list[list[str]]:
    """Return test scores over seeds by way and budget, and those of the teacher."""
    groups = defaultdict(list)
    for row in rows:
        groups[row.share, row.seed].append(row)
    found = defaultdict(list)
    for (share, _), group in groups.items():
        for name, row in chosen(group).items():
            found[name, share].append(row.test)
    shares = sorted({share for share, _ in groups})
    lines = [
        [task, name, *(spread(found[name, share], 1) for share in shares)]
        for name in (BEST, LEAST, FROM_SUPERNET, OURS)
    ]
    return [*lines, [task, "the teacher", spread(teachers, 1), *[""] * (len(shares) - 1)]]


def main() -> None:
    """Train what is missing, print the tables, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_folder_options(parser)
    parser.add_argument("--tasks", nargs="+", choices=list(STEPS), default=list(STEPS))
    parser.add_argument("--budgets", type=float, nargs="+", default=list(SHARES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rates", type=float, nargs="+", default=[1.5e-4, 3e-4, 6e-4])
    names = ("TEACHER", "SUPERNET", "OWN")
    parser.add_argument("--steps", type=int, nargs=3, metavar=names, help="for all tasks")
    parser.add_argument("--predicted", action="store_true", help="measure the profile alone")
    add_result_options(parser)
    options = parser.parse_args()
    check_options(options.dir, predicted=options.predicted)
    header = ("task", "net", *(f"{share:.0%}" for share in sorted(options.budgets)))
    for task in options.tasks:
        budgets = []
        for share in sorted(options.budgets):
            path = options.dir.absolute() / task / "budgets" / f"{share:g}.json"
            budgets.append(kept(path, Budget, partial(choose_budget, options, task, share)))
        walks = [Walk(options, task, seed) for seed in options.seeds]
        rows = list(all_rows(options, walks, budgets))
        lines = table_rows(task, rows, [walk.teacher() for walk in walks])
        finish(options, PACKAGES, header, lines, options.seeds, task)


if __name__ == "__main__":
    main()
