"""What encoder_quality.py keeps and prints: quality at a latency budget, by way.

    python benchmarks/encoder_quality_report.py benchmarks/encoder_quality-*.json

prints a table a task, of all seeds that were kept of it, each with budgets of its machine, and of
several tasks how far ours is ahead in all.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import mean, stdev

from walk_cells import Scores, markdown

from mosdeploy.record import Record
from mosdeploy.spaces.encoder import EncoderArch
from mosdeploy.storage import read_record

FIRST, SPACED = "first layers", "evenly spaced layers"
DEEP, LARGE = "narrower and deep", "narrower and large"
BY_HAND = (FIRST, SPACED, DEEP, LARGE)
BEST_BY_HAND = "by hand: the best of these"
LEAST_BY_HAND = "by hand: the lowest loss of these"
OURS, SLICES = "ours", "ours, from the teacher's slices"
BEST_OURS = "ours, as `finetune` delivers it"
RANDOM = "random"
DERIVED = {BEST_BY_HAND: BY_HAND, LEAST_BY_HAND: BY_HAND, BEST_OURS: (OURS, SLICES)}
ORDER = (*BY_HAND, BEST_BY_HAND, LEAST_BY_HAND, RANDOM, SLICES, OURS, BEST_OURS)
RIVALS = (BEST_BY_HAND, LEAST_BY_HAND)
THIRD = 1 / 3
"""Of the teacher's latency: where the goals of the comparison lie."""
AROUND = 0.02
"""A budget this near to a third counts as one."""
LEAST_LEAD = 0.8
"""Points that ours shall lead by hand by, in the mean of the budgets below a third."""
MOST_LOSS = 0.5
"""Points that ours may be behind the teacher at a third."""


class Cell(Record):
    """One training of one net from one start, which several ways and budgets may share; `seconds`
    of CPU time are its own.
    """

    start: str
    seed: int
    arch: EncoderArch
    learning_rate: float
    steps: int
    seconds: float
    scores: Scores


class Shared(Record):
    """What all budgets of a seed share: CPU seconds of the teacher and of the supernet, and the
    teacher's scores.
    """

    teacher_s: float
    supernet_s: float
    teacher: Scores


class Row(Record):
    """One way at one budget: of the learning rates that were tried, the best on validation.

    `core_seconds`: of all trainings that it was chosen from, with its part of the supernet and its
    search where it has them; the teacher, which all have, is not counted, nor for the teacher's
    slices the search that found the architecture.
    """

    way: str
    seed: int
    share: float
    limit_ms: float
    arch_key: str
    architecture: str
    num_parameters: int
    learning_rate: float
    valid: float
    loss: float
    test: dict[str, float]
    core_seconds: float


class Outcome(Record):
    """What encoder_quality-TASK.json holds.

    Attributes
    ----------
    load
        Programs that ran on the machine when it was written: mean of the last 15 minutes.
    times_ms
        Latencies of all nets by the architectures' keys, measured one after the other, or
        predicted.
    teachers
        By seed.
    floor
        Metrics of TF-IDF with logistic regression by split; empty where the task has no classes.
    """

    task: str
    metric: str
    command: str
    versions: dict[str, str]
    processor: str
    load: float
    teacher_ms: float
    times_ms: dict[str, float]
    is_predicted: bool
    teachers: dict[int, Shared]
    floor: dict[str, float]
    rows: tuple[Row, ...]


def metric_of(scores: Scores, split: str, name: str) -> float:
    """One metric of a subnet on a split."""
    return metrics_of(scores, split)[name]


def metrics_of(scores: Scores, split: str) -> dict[str, float]:
    """All metrics of a subnet on a split, by their names alone."""
    found = {}
    for key, value in scores.metrics.items():
        first, _, _, name = key.split(" ", 3)  # SPLIT, NUMBER tokens, METRIC
        if first == split:
            found[name] = value
    return found


def best_cell(cells: Iterable[Cell], metric: str) -> Cell:
    """The best on validation; of equals the one with the lower loss."""
    return max(cells, key=lambda cell: (metric_of(cell.scores, "valid", metric), -cell.scores.loss))


def with_derived(rows: Sequence[Row]) -> list[Row]:
    """Rows, the best of those by hand by their score on validation, and that of the lowest
    validation loss; by that `export` takes one of both starts of ours, too.
    """
    derived = []
    for (share, seed), group in _groups(rows).items():
        for name, ways in DERIVED.items():
            members = [row for row in group if row.way in ways]
            if not members:
                raise SystemExit(f"no net of {', '.join(ways)} at {share:.3f}, seed {seed}")
            by_score = max(members, key=lambda row: (row.valid, -row.loss))
            by_loss = min(members, key=lambda row: row.loss)
            best = by_score if name == BEST_BY_HAND else by_loss
            # a search and a part of a supernet that both starts share count once
            seconds = sum(row.core_seconds for row in members)
            derived.append(best.model_copy(update={"way": name, "core_seconds": seconds}))
    return [*rows, *derived]


def table(outcome: Outcome) -> str:
    """Markdown: teacher and floor, each budget, and how far the goals are."""
    metric = outcome.metric
    teachers = [shared.teacher for shared in outcome.teachers.values()]
    scores = [metric_of(teacher, "test", metric) for teacher in teachers]
    how = "predicted" if outcome.is_predicted else "measured"
    seeds = ", ".join(str(seed) for seed in outcome.teachers)
    lines = [
        f"{outcome.task}: {metric}, seeds {seeds}; latencies of int8, 32 tokens, one thread, {how}",
        f"teacher: {spread(scores)} in {outcome.teacher_ms:.2f} ms",
    ]
    if outcome.floor:
        lines.append(f"TF-IDF with logistic regression: {outcome.floor[f'test {metric}']:.1f}")
    header = ["budget, ms", "of the teacher's", "way", "ms", "parameters, k"]
    header += [f"{metric}, validation", f"{metric}, test", "learning rate", "core-seconds"]
    rows = with_derived(outcome.rows)
    shares = sorted({row.share for row in rows})
    body = [
        _line([row for row in rows if (row.share, row.way) == (share, way)], outcome, metric)
        for share in shares
        for way in ORDER
        if any((row.share, row.way) == (share, way) for row in rows)
    ]
    return "\n\n".join([*lines, markdown(header, body), *_goals(rows, scores, metric)])


def seeds_table(outcomes: Sequence[Outcome]) -> str:
    """Markdown: test scores of all seeds by way and budget, and how far the goals are. Latencies
    are left out, as machines differ.
    """
    task, metric = outcomes[0].task, outcomes[0].metric
    seeds = [seed for outcome in outcomes for seed in outcome.teachers]
    if len(seeds) > len(set(seeds)):
        raise SystemExit(f"{task}, seeds {', '.join(map(str, sorted(seeds)))}: each seed once")
    rows = [row for outcome in outcomes for row in with_derived(outcome.rows)]
    shared = [found for outcome in outcomes for found in outcome.teachers.values()]
    teachers = [metric_of(found.teacher, "test", metric) for found in shared]
    shares = sorted({row.share for row in rows})
    body = []
    for way in ORDER:
        found = {
            share: [row.test[metric] for row in rows if (row.share, row.way) == (share, way)]
            for share in shares
        }
        body.append([way, *(spread(found[share]) if found[share] else "-" for share in shares)])
    told = ", ".join(map(str, sorted(seeds)))
    lines = [f"{task}: {metric} on test, seeds {told}; teacher: {spread(teachers)}"]
    header = ["way", *(f"{share:.0%}" for share in shares)]
    return "\n\n".join([*lines, markdown(header, body), *_goals(rows, teachers, metric)])


def all_leads(outcomes: Sequence[Outcome]) -> str:
    """How far what `finetune` delivers is ahead at each budget of each seed, in all."""
    leads: dict[str, list[float]] = {other: [] for other in RIVALS}
    for outcome in outcomes:
        rows = with_derived(outcome.rows)
        tests = {(row.share, row.seed, row.way): row.test[outcome.metric] for row in rows}
        for (share, seed), other in product(_groups(rows), RIVALS):
            leads[other].append(tests[share, seed, BEST_OURS] - tests[share, seed, other])
    return "\n\n".join(
        f"{BEST_OURS}, minus {other}, of {len(found)} comparisons: {mean(found):+.1f} in the mean, "
        f"{min(found):+.1f} to {max(found):+.1f}; behind in {sum(lead < 0 for lead in found)}"
        for other, found in leads.items()
    )


def spread(values: Sequence[float]) -> str:
    """Mean, and where there are several the standard deviation."""
    around = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):.1f}{around}"


def _line(rows: Sequence[Row], outcome: Outcome, metric: str) -> list[str]:
    times_ms = mean(outcome.times_ms[row.arch_key] for row in rows)
    return [
        f"{rows[0].limit_ms:.3f}",
        f"{rows[0].share:.0%}",
        rows[0].way,
        f"{times_ms:.3f}",
        f"{mean(row.num_parameters for row in rows) / 1000:,.0f}",
        spread([row.valid for row in rows]),
        spread([row.test[metric] for row in rows]),
        ", ".join(f"{rate:g}" for rate in sorted({row.learning_rate for row in rows})),
        # the first seed tried all learning rates
        f"{max(row.core_seconds for row in rows):,.0f}",
    ]


def _goals(rows: Sequence[Row], teachers: Sequence[float], metric: str) -> list[str]:
    """How far what `finetune` delivers is ahead of either choice by hand."""
    means = _means(rows, metric)
    shares = sorted({share for share, _ in means})
    below = [share for share in shares if share < THIRD - AROUND]
    at = [share for share in shares if abs(share - THIRD) <= AROUND]
    lines = []
    for other in RIVALS:
        leads = {share: means[share, BEST_OURS] - means[share, other] for share in shares}
        told = ", ".join(f"{lead:+.1f} at {share:.0%}" for share, lead in leads.items())
        lines.append(f"{BEST_OURS}, minus {other}: {told} (goal: none below 0)")
        if below:
            lead = mean(leads[share] for share in below)
            lines.append(f"below a third, in the mean: {lead:+.1f} (goal: {LEAST_LEAD:+.1f})")
    for share in at:
        behind = mean(teachers) - means[share, BEST_OURS]
        lines.append(f"teacher minus {BEST_OURS} at a third: {behind:+.1f} (goal: {MOST_LOSS})")
    return lines


def _means(rows: Sequence[Row], metric: str) -> Mapping[tuple[float, str], float]:
    found: dict[tuple[float, str], list[float]] = {}
    for row in rows:
        found.setdefault((row.share, row.way), []).append(row.test[metric])
    return {key: mean(values) for key, values in found.items()}


def _groups(rows: Sequence[Row]) -> dict[tuple[float, int], list[Row]]:
    groups: dict[tuple[float, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.share, row.seed), []).append(row)
    return groups


def report(outcomes: Sequence[Outcome]) -> str:
    """Markdown: a table a task, and of several how far ours is ahead in all."""
    tasks = sorted({outcome.task for outcome in outcomes})
    parts = [seeds_table([found for found in outcomes if found.task == task]) for task in tasks]
    return "\n\n".join([*parts, all_leads(outcomes)] if len(tasks) > 1 else parts)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+", help="JSON of other tasks or seeds")
    files = parser.parse_args().files
    print(report([read_record(Outcome, path, "encoder_quality.py") for path in files]))


if __name__ == "__main__":
    main()
