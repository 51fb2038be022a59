"""Quality of encoders within a latency budget: the nets that one would pick by hand, and ours.

    python benchmarks/encoder_quality.py --data ../shared/data --dir runs/encoder-quality --json

For each task and each budget, a share of the latency of the whole teacher in int8 on this machine
(32 tokens, one thread):

- by hand, each from its part of the teacher: its first k layers; k evenly spaced layers (one layer
  is the first); nets with fewer heads and narrower FFNs, alike in all layers: of as many layers as
  the budget lets be, and the one with the most weights;
- ours: the winner of the search, trained on from the weights that it inherits from the supernet;
- the same architecture straight from the teacher's slices (`mosdeploy finetune` trains both, and
  keeps the better on validation);
- a random architecture that is predicted to take 90 to 100% of the budget, trained as ours is.

All learn from the outputs of one teacher (of one seed) for the same number of steps. The first seed
tries all --rates for each way and budget, and that which is best on validation is taken for the
other seeds (on another machine those of a kept table, with --rates-of). All choices are made on
validation, and scores are those of torch on test. The teacher is the ceiling, TF-IDF with logistic
regression the floor of a classification.

The slices of `mosdeploy finetune` are always the first layers; what trains evenly spaced ones is
in encoder_quality_hand.py. Nets by hand are measured before they are trained, the winner by its
search; the column `ms` is from one more measurement of all of them at the end, which is made again
if DIR/TASK/latencies.jsonl is deleted. Where other programs run, single measurements are off by
more than budgets differ: there --predicted takes all latencies, of the teacher too, from one
predictor, fitted to the profile. The JSON says so, and how many programs ran.

Core-seconds are CPU time, of a training that was killed only what came after. Everything is a cell
or a verb that resumes: a killed run goes on with the same command. Further seeds may run at once,
each as `--seeds 1 N` once the first one is finished; a last call with all puts the table together.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from encoder_quality_hand import narrower, slowest_within, tf_idf_scores, whole_layers
from encoder_quality_report import DEEP, FIRST, LARGE, SPACED, Outcome, Row, table
from encoder_quality_walk import STEPS, Budget, Walk, latencies_ms, write_task
from provenance import provenance, result_path
from walk_cells import check_options, kept

import mosdeploy
from mosdeploy.families.encoder.scoring import METRIC_NAMES
from mosdeploy.record import Record
from mosdeploy.spaces.encoder import EncoderSpace
from mosdeploy.storage import read_record, write_record

PACKAGES = ("torch", "onnxruntime", "tokenizers", "scikit-learn")
SHARES = (0.18, 0.22, 0.27, 0.333, 0.5)
"""Of the teacher's latency; a net of one whole layer takes about a sixth."""
PROFILE_SEED = 1


class Floor(Record):
    """Metrics of TF-IDF with logistic regression, by split."""

    metrics: dict[str, float]


def choose_budget(options: argparse.Namespace, task: str, share: float) -> Budget:
    """Profile this machine if that was not done, and measure what one would pick by hand."""
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


def all_rows(options: argparse.Namespace, task: str, budgets: Sequence[Budget]) -> Iterator[Row]:
    """Make the cells that are missing: the first seed with all learning rates, the others with
    those that were best there.
    """
    rates = dict[tuple[float, str], float]()
    if options.rates_of:
        earlier = read_record(Outcome, options.rates_of, "this script")
        rates = {(row.share, row.way): row.learning_rate for row in reversed(earlier.rows)}
    for seed in options.seeds:
        walk = Walk(options, task, seed)
        walk.shared()
        for budget in budgets:
            for way, arch in walk.nets(budget).items():
                key = (budget.share, way)
                tried = (rates[key],) if key in rates else options.rates
                row = walk.row(way, budget, arch, tried)
                rates.setdefault(key, row.learning_rate)
                yield row


def compare(options: argparse.Namespace, task: str) -> Outcome:
    """All trainings of a task."""
    root = options.dir.absolute() / task
    budgets = []
    for share in sorted(options.budgets):
        path = root / "budgets" / f"{share:g}.json"
        budgets.append(kept(path, Budget, partial(choose_budget, options, task, share)))
    rows = tuple(all_rows(options, task, budgets))
    walks = {seed: Walk(options, task, seed) for seed in options.seeds}
    first = walks[options.seeds[0]]
    space = first.state.config.space
    archs = [space.largest]
    for walk in walks.values():
        archs += [arch for budget in budgets for arch in walk.nets(budget).values()]
    floor = Floor(metrics={})
    if first.metric == METRIC_NAMES["classification"]:
        floor = kept(root / "floor.json", Floor, lambda: Floor(metrics=tf_idf_scores(first.state)))
    times_ms = latencies_ms(options, root / "profile", archs, root / "latencies.jsonl")
    return Outcome(
        task=task,
        metric=first.metric,
        **provenance(PACKAGES),
        load=os.getloadavg()[2],
        teacher_ms=times_ms[space.largest.key],
        times_ms=times_ms,
        is_predicted=options.predicted,
        teachers={seed: walk.shared() for seed, walk in walks.items()},
        floor=floor.metrics,
        rows=rows,
    )


def main() -> None:
    """Make the cells that are missing, print the tables, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the tasks' data")
    parser.add_argument("--dir", type=Path, required=True, help="everything is kept here")
    parser.add_argument("--tasks", nargs="+", choices=list(STEPS), default=list(STEPS))
    parser.add_argument("--budgets", type=float, nargs="+", default=list(SHARES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rates", type=float, nargs="+", default=[1.5e-4, 3e-4, 6e-4])
    names = ("TEACHER", "SUPERNET", "OWN")
    parser.add_argument("--rates-of", type=Path, help="take the rates from this JSON file")
    parser.add_argument("--steps", type=int, nargs=3, metavar=names, help="for all tasks")
    parser.add_argument("--finalist-steps", type=int, default=0, help="[search] finalist_steps")
    parser.add_argument("--predicted", action="store_true", help="measure the profile alone")
    parser.add_argument("--amp", choices=["bf16", "none"], default="bf16", help="of all trainings")
    parser.add_argument("--json", action="store_true", help="keep the results")
    parser.add_argument("--label", default="", help="ends the name of what is kept")
    options = parser.parse_args()
    check_options(options.dir, predicted=options.predicted)
    for task in options.tasks:
        outcome = compare(options, task)
        print(table(outcome), flush=True)
        if options.json:
            write_record(result_path(f"encoder_quality-{task}", options.label), outcome)


if __name__ == "__main__":
    main()
