"""What the figures of benchmarks/encoder_quality.py depend on, without a training."""

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from benchmark_scripts import benchmark_module
from pages import ROOT

from mosdeploy.config import load_recipe
from mosdeploy.families.encoder.elastic import fresh_subnet
from mosdeploy.storage import read_record


@pytest.fixture(scope="module")
def hand() -> Iterator[Any]:
    with benchmark_module("encoder_quality_hand") as module:
        yield module


@pytest.fixture(scope="module")
def report() -> Iterator[Any]:
    with benchmark_module("encoder_quality_report") as module:
        yield module


@pytest.fixture(scope="module")
def space() -> Any:
    return load_recipe("minilm-l6").space


class ByWeights:
    """A device whose latency follows the weights of the layers."""

    def predict(self, genes: Any) -> Any:
        space = load_recipe("minilm-l6").space
        archs = [space.from_genes(row) for row in genes]
        return np.array([sum(4 * 32 * x.heads + 2 * x.ffn_dim for x in a.layers) for a in archs])


def test_evenly_spaced_layers_reach_from_the_first_to_the_last(hand: Any) -> None:
    assert [hand.spaced_layers(k, 6) for k in (1, 2, 4, 6)] == [
        [0],
        [0, 5],
        [0, 2, 3, 5],
        [0, 1, 2, 3, 4, 5],
    ]


def test_kept_layers_come_first_and_keep_their_weights(hand: Any) -> None:
    weights = {f"layers.{i}.fc1.bias": torch.tensor(float(i)) for i in range(12)}
    moved = hand.renumbered({**weights, "head.bias": torch.tensor(9.0)}, [0, 5, 11])
    assert [moved[f"layers.{i}.fc1.bias"].item() for i in range(3)] == [0.0, 5.0, 11.0]
    assert moved["head.bias"].item() == 9.0


def test_a_training_from_spaced_layers_starts_as_these(hand: Any, space: Any) -> None:
    config = load_recipe("minilm-l6")
    checkpoint = config.checkpoint.model_copy(update={"vocab_size": 50})
    config = config.model_copy(update={"checkpoint": checkpoint})
    largest = fresh_subnet(space.largest, space, config.vocab_size, config.supernet, seed=1)
    teacher = SimpleNamespace(subnet=lambda arch: largest)
    state: Any = SimpleNamespace(config=config, teacher=teacher)
    arch = hand.whole_layers(space)[1]
    training = hand.SpacedTraining(
        state, arch, "from-teacher", config.training, SimpleNamespace(sha256=())
    )
    start = training.start()
    for own, kept in enumerate((0, 5)):
        found = start.layers[own].fc1.weight
        assert torch.equal(found, largest.layers[kept].fc1.weight)


def test_narrower_nets_keep_the_limit_and_are_no_whole_layers(hand: Any, space: Any) -> None:
    limit = 2 * (4 * 384 + 2 * 1536)  # what two whole layers take
    deepest, largest = hand.narrower(space, ByWeights(), limit)
    found = [*deepest, *largest]
    assert all(ByWeights().predict(space.genes([arch]))[0] <= limit for arch in found)
    assert all(arch.is_uniform and arch.layers[0] != space.largest.layers[0] for arch in found)
    assert {len(arch.layers) for arch in deepest} == {6}
    assert ByWeights().predict(space.genes(deepest[:1]))[0] == limit
    weights = [ByWeights().predict(space.genes([arch]))[0] for arch in largest]
    assert weights == sorted(weights, reverse=True)
    assert hand.narrower(space, ByWeights(), 1.0) == ([], [])


def test_of_measured_nets_the_slowest_that_keeps_the_limit(hand: Any, space: Any) -> None:
    archs = hand.whole_layers(space)
    times_ms = {arch.key: float(len(arch.layers)) for arch in archs}
    assert len(hand.slowest_within(archs, times_ms, 2.5).layers) == 2
    assert hand.slowest_within(archs, times_ms, 0.5) is None


def test_a_random_net_uses_the_limit_and_follows_its_seed(
    hand: Any, space: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hand, "NUM_DRAWN", 20)
    drawn = [hand.random_arch(space, ByWeights(), 9000.0, seed) for seed in (1, 1, 2)]
    times = ByWeights().predict(space.genes(drawn))
    assert ((times <= 9000) & (times >= 8100)).all()
    assert drawn[0] == drawn[1] != drawn[2]
    monkeypatch.setattr(hand, "MAX_DRAWS", 1)
    with pytest.raises(SystemExit, match="no random architecture"):
        hand.random_arch(space, ByWeights(), 1.0, 1)


def test_tf_idf_learns_words(hand: Any) -> None:
    def examples(count: int) -> tuple[Any, ...]:
        texts = [("a good film", 1), ("a bad film", 0)] * count
        return tuple(SimpleNamespace(line=line, label=label) for line, label in texts)

    data = SimpleNamespace(train=examples(20), valid=examples(3), test=examples(2))
    state: Any = SimpleNamespace(config=load_recipe("minilm-l6"), data=data)
    scores = hand.tf_idf_scores(state)
    assert scores["test accuracy"] == scores["valid accuracy"] == 100.0


def row(
    report: Any, way: str, valid: float, test: float, share: float, seed: int, loss: float = 0.5
) -> Any:
    return report.Row(
        way=way,
        seed=seed,
        share=share,
        limit_ms=share * 1.5,
        arch_key=way,
        architecture="384 [192/3h]",
        num_parameters=1_000_000,
        learning_rate=3e-4,
        valid=valid,
        loss=loss,
        test={"accuracy": test},
        core_seconds=10.0,
    )


def test_the_best_is_chosen_on_validation_and_scored_on_test(report: Any) -> None:
    rows = [
        row(report, report.FIRST, valid=70, test=60, share=0.2, seed=1),
        row(report, report.DEEP, valid=65, test=90, share=0.2, seed=1, loss=0.3),
        row(report, report.OURS, valid=71, test=61, share=0.2, seed=1),
        row(report, report.SLICES, valid=70, test=59, share=0.2, seed=1, loss=0.4),
    ]
    derived = {found.way: found for found in report.with_derived(rows)[len(rows) :]}
    assert derived[report.BEST_BY_HAND].test == {"accuracy": 60.0}
    assert derived[report.BEST_BY_HAND].core_seconds == 20.0
    assert derived[report.LEAST_BY_HAND].test == {"accuracy": 90.0}
    assert derived[report.BEST_OURS].test == {"accuracy": 59.0}


def test_the_table_tells_leads_spread_and_how_far_the_teacher_is(report: Any) -> None:
    rows = [
        row(report, way, valid=test, test=test + seed, share=share, seed=seed)
        for share, by_hand, ours in ((0.2, 70.0, 72.0), (0.333, 74.0, 73.0))
        for seed in (1, 2)
        for way, test in (
            (report.FIRST, by_hand),
            (report.OURS, ours),
            (report.SLICES, ours - 1),
        )
    ]
    teacher = {"arch_key": "t", "num_parameters": 1, "loss": 0.1}
    metrics = {"test 64 tokens accuracy": 75.0, "test 64 tokens macro F1": 60.0}
    shared = report.Shared(teacher_s=1, supernet_s=1, teacher={**teacher, "metrics": metrics})
    outcome = report.Outcome(
        task="modules",
        metric="accuracy",
        command="",
        versions={},
        processor="",
        load=0.0,
        teacher_ms=1.5,
        times_ms={found.way: 0.3 for found in rows},
        is_predicted=True,
        teachers={1: shared, 2: shared},
        floor={"test accuracy": 68.4},
        rows=tuple(rows),
    )
    shown = report.table(outcome)
    assert "seeds 1, 2; latencies of int8, 32 tokens, one thread, predicted" in shown
    assert "teacher: 75.0 ± 0.0 in 1.50 ms" in shown
    assert "logistic regression: 68.4" in shown
    assert "| 73.5 ± 0.7 |" in shown  # ours at a fifth
    delivers = "ours, as `finetune` delivers it"
    assert f"{delivers}, minus by hand: the best of these: +2.0 at 20%, -1.0 at 33%" in shown
    assert f"{delivers}, minus by hand: the lowest loss of these: +2.0 at 20%" in shown
    assert "below a third, in the mean: +2.0 (goal: +0.8)" in shown
    assert f"teacher minus {delivers} at a third: +0.5 (goal: 0.5)" in shown
    # kept apart, a seed a file, they are the same of all seeds
    apart = [
        outcome.model_copy(
            update={
                "rows": tuple(found for found in rows if found.seed == seed),
                "teachers": {seed: shared},
            }
        )
        for seed in (2, 1)
    ]
    told = report.seeds_table(apart)
    assert "modules: accuracy on test, seeds 1, 2; teacher: 75.0 ± 0.0" in told
    assert "| ours | 73.5 ± 0.7 | 74.5 ± 0.7 |" in told
    assert "| evenly spaced layers | - | - |" in told
    goals = f"\n\n{delivers}, minus"
    assert told.partition(goals)[2] == shown.partition(goals)[2] != ""
    assert report.report(apart) == told
    # of two tasks, how far ours is ahead in all
    tags = apart[1].model_copy(update={"task": "tags"})
    parts = report.report([*apart, tags]).split("\n\n")
    assert sum(part.startswith("| way |") for part in parts) == 2
    assert parts[-2] == (
        f"{delivers}, minus by hand: the best of these, of 6 comparisons: "
        "+0.5 in the mean, -1.0 to +2.0; behind in 3"
    )
    with pytest.raises(SystemExit, match="modules, seeds 1, 2, 2: each seed once"):
        report.report([*apart, apart[0]])


def test_the_page_shows_what_the_report_prints(report: Any) -> None:
    found = sorted((ROOT / "benchmarks").glob("encoder_quality-*.json"))
    printed = report.report([read_record(report.Outcome, path, "this test") for path in found])
    ways = tuple(f"| {way} |" for way in report.ORDER)
    rows = [line for line in printed.splitlines() if line.startswith(ways)]
    assert len(rows) == 3 * len(ways)
    page = (ROOT / "docs" / "encoder-results.md").read_text(encoding="utf-8")
    assert [line for line in page.splitlines() if line.startswith(ways)] == rows
    words = " ".join(page.split())
    for teacher in re.findall(r"teacher: (.*)", printed):
        assert f"The teacher has {teacher}" in words
    for told in re.findall(r"minus by hand: the best of these: (.*) \(goal", printed):
        *leads, last = re.findall(r"[+-]\d+\.\d", told)
        assert f"{', '.join(leads)} and {last}" in words
    for of_all in printed.split("\n\n")[-2:]:
        count, num_behind = re.findall(r"(\d+) comparisons.* behind in (\d+)", of_all)[0]
        assert f"{count} comparisons" in page and f"{num_behind} of them" in page
