"""Which finalists are measured, what they correct, and the winner, which is timed twice."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from search_problem import MEDIUM, scored
from walking import KeptProgress

from mosdeploy.errors import InfeasibleError
from mosdeploy.pipeline.search import FinalistMeasurement, FinalistTiming, initial_search
from mosdeploy.records import Candidate, Limits
from mosdeploy.workspace import Workspace


def candidate(loss: float, measured_ms: float | None) -> Candidate:
    rng = np.random.default_rng(int(loss * 10))
    return scored(MEDIUM.sample(rng), loss, predicted_ms=9.0, measured_ms=measured_ms)


@pytest.fixture
def decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What comes of first times of candidates of rising loss, and of those of a second look."""

    def decided(
        first: Sequence[float | None],
        again: Sequence[float | None],
        noise: float = 0.0,
    ) -> tuple[int, list[int]]:
        measured = [candidate(1.0 + i, ms) for i, ms in enumerate(first)]
        order = [x.arch for x in measured]
        looks: list[int] = []

        def timed(self: FinalistTiming, chosen: list[Candidate], path: Path) -> list[Candidate]:
            assert path == tmp_path / "search" / "again" / "dev-load.jsonl"
            looks.extend(order.index(x.arch) for x in chosen)
            return [
                x.model_copy(update={"measured_ms": again[order.index(x.arch)]}) for x in chosen
            ]

        monkeypatch.setattr(FinalistTiming, "timed", timed)
        context: Any = SimpleNamespace(
            files=Workspace(tmp_path),
            config=SimpleNamespace(workload=SimpleNamespace(name="load")),
        )
        evolution: Any = None
        evolve: Any = None
        limits = Limits(max_latency_ms=10.0)
        timing = FinalistTiming(context, "dev", noise=noise)
        task = FinalistMeasurement(timing, limits, evolution, None, evolve, measured=measured)
        winner = task._winner_timed_again()
        assert winner in task.measured
        return order.index(winner.arch), looks

    return decided


@pytest.mark.parametrize(
    ("first", "again", "noise", "winner", "looks"),
    [
        pytest.param((9.9, 9.0), (9.95, 9.1), 0.0, 0, [0, 1], id="it stays"),
        pytest.param((9.9, 9.0), (10.2, 9.1), 0.0, 1, [0, 1], id="it was lucky"),
        pytest.param((9.9, 9.8, 9.0), (10.2, 10.1, 9.1), 0.0, 2, [0, 1, 2], id="two were"),
        pytest.param((9.9, 9.0), (None, 9.1), 0.0, 1, [0, 1], id="it fails now"),
        pytest.param((9.9, None), (9.9, 1.0), 0.0, 0, [0], id="there is one"),
        pytest.param((10.2, 9.0), (9.0, 9.1), 0.0, 1, [1], id="too slow is not looked at"),
        pytest.param((9.9, 9.0), (9.9, 9.1), 0.05, 1, [1, 0], id="by more than the noise"),
        pytest.param((9.9, 9.7), (9.9, 9.6), 0.05, 0, [0, 1], id="none by more than the noise"),
    ],
)
def test_a_winner_keeps_the_limit_twice(
    decided: Any,
    first: Sequence[float | None],
    again: Sequence[float | None],
    noise: float,
    winner: int,
    looks: list[int],
) -> None:
    assert decided(first, again, noise) == (winner, looks)


def test_where_the_second_look_leaves_none_the_fastest_is_named(decided: Any) -> None:
    with pytest.raises(InfeasibleError, match=r"fastest took 10\.1 ms, the limit is 10 ms"):
        decided((9.9, 9.0), (10.2, 10.1))


LADDER_MS = tuple(2.0 * 1.03**i for i in range(90))
"""Predicted times of architectures, of which each is better than the one before."""


@dataclass
class Ladder:
    """A search over `LADDER_MS`, and a device whose times are predictions times a factor for each
    round, the last of which stays; from the first second look on it is `factor_again`.
    """

    root: Path
    factors: Sequence[float]
    factor_again: float | None = None
    rounds: int = 0
    levels: list[float] = field(default_factory=list)
    progress: KeptProgress = field(default_factory=KeptProgress)

    def __post_init__(self) -> None:
        archs = {MEDIUM.sample(np.random.default_rng(i)) for i in range(200)}
        self.times = dict(zip(sorted(archs, key=lambda arch: arch.key), LADDER_MS, strict=False))

    def evolve(self, level: float, excess_bytes: int = 0) -> Any:
        self.levels.append(level)
        ranked = [
            candidate(1.0, None).model_copy(
                update={"arch": arch, "loss": 100 / ms, "predicted_ms": ms * level}
            )
            for arch, ms in sorted(self.times.items(), key=lambda item: -item[1])
            if ms * level <= 10.0
        ]
        return SimpleNamespace(ranked=tuple(ranked), front=tuple(ranked))

    def timed(self, chosen: list[Candidate], path: Path) -> list[Candidate]:
        if "again" in path.parts and self.factor_again is not None:
            self.factors = [self.factor_again]
        factor = self.factors[min(self.rounds, len(self.factors) - 1)]
        self.rounds += 1
        return [x.model_copy(update={"measured_ms": self.times[x.arch] * factor}) for x in chosen]

    def measurement(self, monkeypatch: pytest.MonkeyPatch) -> FinalistMeasurement:
        monkeypatch.setattr(FinalistTiming, "timed", lambda _, *asked: self.timed(*asked))
        config = SimpleNamespace(
            workload=SimpleNamespace(name="load"),
            search=SimpleNamespace(finalists=4),
            space=SimpleNamespace(genes=list),
        )
        context: Any = SimpleNamespace(
            files=Workspace(self.root), config=config, progress=self.progress
        )
        predictor: Any = SimpleNamespace(
            to_rows=lambda genes: genes, half_width=lambda rows: [0.6] * len(rows)
        )
        limits = Limits(max_latency_ms=10.0)
        return FinalistMeasurement(
            FinalistTiming(context, "dev"),
            limits,
            self.evolve(1.0),
            predictor,
            self.evolve,
        )

    def best_ms(self, factor: float, noise: float) -> float:
        """The longest time that keeps the limit by the noise."""
        return max(ms * factor for ms in self.times.values() if ms * factor * (1 + noise) <= 10.0)


@pytest.mark.parametrize(
    "factor",
    [
        pytest.param(0.7, id="faster"),
        pytest.param(1.0, id="as predicted"),
        pytest.param(2.0, id="slower"),
    ],
)
def test_the_winner_uses_the_limit_wherever_the_device_is(
    factor: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ladder = Ladder(tmp_path, [factor])
    task = ladder.measurement(monkeypatch)
    winner, measured = task.run()
    assert winner.measured_ms == pytest.approx(ladder.best_ms(factor, 0.03))  # as the docs say
    assert len(measured) <= 12
    # a finalist of the first round is predicted as those of later ones are
    predicted = {x.arch: x.predicted_ms for x in ladder.evolve(task.level).ranked}
    assert winner.predicted_ms == pytest.approx(predicted[winner.arch])
    del ladder.levels[-1]
    assert ladder.levels[1:] == ([] if factor == 1.0 else [pytest.approx(factor)])
    assert len(ladder.progress.messages) == (factor != 1.0)


@pytest.mark.parametrize(
    ("factors", "levels"),
    [
        pytest.param((2.0, 1.0), [2.0, 1.0], id="a busy first round"),
        pytest.param((0.9, 1.35, 0.9), [0.9], id="a busy second round"),
        pytest.param((1.0, 1.5, 1.5), [1.5], id="slower for good from the second round on"),
    ],
)
def test_the_level_is_that_of_the_quietest_round(
    factors: tuple[float, ...],
    levels: list[float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ladder = Ladder(tmp_path, factors)
    task = ladder.measurement(monkeypatch)
    winner, _ = task.run()
    assert winner.measured_ms is not None and winner.measured_ms <= 10.0
    assert ladder.levels[1:] == [pytest.approx(level) for level in levels]
    assert task.level == pytest.approx(levels[-1])


@pytest.mark.parametrize(
    ("factors", "noise"),
    [
        pytest.param((2.0, 1.0, 1.0, 1.3), 0.03, id="slower at the second look"),
        pytest.param((1.3, 1.3, 2.0, 1.0), 0.2, id="busy in the last round"),
    ],
)
def test_a_winner_far_below_the_limit_is_not_the_last_word(
    factors: tuple[float, ...],
    noise: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two thirds of the limit, and half of it, were used by winners of a single pass."""
    ladder = Ladder(tmp_path, factors)
    task = ladder.measurement(monkeypatch)
    task.timing.noise = noise
    winner, _ = task.run()
    assert winner.measured_ms is not None
    assert winner.measured_ms > 0.95 * ladder.best_ms(factors[-1], noise)


def test_a_winner_is_told_with_the_level_that_the_search_ends_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ladder = Ladder(tmp_path, [1.6], 1.0)
    fastest = sorted(ladder.times.items(), key=lambda item: item[1])[:30]
    ladder.times = dict(fastest)  # the best of all leaves much of the limit
    task = ladder.measurement(monkeypatch)
    winner, measured = task.run()
    assert (winner.arch, winner.measured_ms) == (
        fastest[-1][0],
        pytest.approx(1.6 * fastest[-1][1]),
    )
    assert task.level == pytest.approx(1.0)
    assert winner.predicted_ms == pytest.approx(fastest[-1][1]) and winner in measured


def test_of_a_device_that_becomes_slower_others_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ladder = Ladder(tmp_path, [1.0], 1.5)
    task = ladder.measurement(monkeypatch)
    winner, _ = task.run()
    assert winner.measured_ms == pytest.approx(ladder.best_ms(1.5, task.timing.noise))
    assert ladder.levels == [1.0, pytest.approx(1.5)]
    # slower once more: it is not run after for ever
    ladder = Ladder(tmp_path, [1.0], 100.0)
    with pytest.raises(InfeasibleError):
        ladder.measurement(monkeypatch).run()


@pytest.mark.parametrize(("noise", "level"), [(0.03, 1.05), (0.06, 1.0)])
def test_what_lies_within_the_noise_corrects_no_prediction(
    noise: float, level: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Ladder(tmp_path, [1.05]).measurement(monkeypatch)
    task.timing = FinalistTiming(task.context, "dev", noise=noise)
    task._measure_finalists()
    assert task.level == pytest.approx(level)


def test_finalists_are_compared_as_the_last_search_compares_them(tmp_path: Path) -> None:
    """A deeper one that stood by the best loss of the first search stands by that of the next."""
    context: Any = SimpleNamespace(files=Workspace(tmp_path), progress=KeptProgress())
    deep, gone = (
        x.model_copy(update={"base_loss": 2.9}) for x in (candidate(3.0, 4.5), candidate(3.1, 4.5))
    )
    best = candidate(2.8, None)
    found: Any = SimpleNamespace(ranked=[deep.model_copy(update={"base_loss": 2.8}), best])
    limits = Limits(max_latency_ms=10.0)
    task = FinalistMeasurement(
        FinalistTiming(context, "dev"), limits, found, None, lambda *_: found
    )
    task.measured = [deep, gone]
    task._ratios = [0.5]
    task._correct_predictions()
    assert [x.base_loss for x in task.measured] == [2.8, 2.9]
    assert [x.measured_ms for x in task.measured] == [4.5, 4.5]


def test_predictions_of_memory_are_corrected_by_what_the_finalists_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process takes 5 more than is predicted, and the larger the better."""
    drawn = sorted({MEDIUM.sample(np.random.default_rng(i)) for i in range(60)}, key=str)

    def evolve(level: float, excess_bytes: int) -> Any:
        ranked = tuple(
            candidate(1.0, None).model_copy(
                update={"arch": arch, "loss": -float(i), "memory_bytes": i, "predicted_ms": 9.0}
            )
            for i, arch in reversed(list(enumerate(drawn)))
            if i <= 40 - excess_bytes
        )
        return SimpleNamespace(ranked=ranked, front=ranked)

    def timed(self: FinalistTiming, chosen: list[Candidate], path: Path) -> list[Candidate]:
        more = 6 if "again" in path.parts else 5
        return [
            x.model_copy(
                update={"measured_ms": 9.0, "measured_memory_bytes": x.memory_bytes + more}
            )
            for x in chosen
        ]

    monkeypatch.setattr(FinalistTiming, "timed", timed)
    config = SimpleNamespace(
        workload=SimpleNamespace(name="load"), search=SimpleNamespace(finalists=4)
    )
    context: Any = SimpleNamespace(
        files=Workspace(tmp_path), config=config, progress=KeptProgress()
    )
    limits = Limits(max_memory_bytes=40)
    task = FinalistMeasurement(FinalistTiming(context, "dev"), limits, evolve(1.0, 0), None, evolve)
    winner, _ = task.run()
    # of the two times the most memory counts
    assert (winner.memory_bytes, winner.measured_memory_bytes) == (34, 40)
    assert task.excess_bytes == 5
    (message,) = context.progress.messages
    assert message.endswith(" took 0 KiB more memory than predicted: searching again with that")


def test_where_nothing_is_predicted_to_keep_the_corrected_limit_it_is_told(tmp_path: Path) -> None:
    def evolve(level: float, excess_bytes: int) -> Any:
        raise InfeasibleError("nothing is so small")

    context: Any = SimpleNamespace(files=Workspace(tmp_path), progress=KeptProgress())
    limits = Limits(max_memory_bytes=40)
    nothing: Any = None
    task = FinalistMeasurement(FinalistTiming(context, "dev"), limits, nothing, None, evolve)
    sizes = {"memory_bytes": 30, "measured_memory_bytes": 50}
    task.measured = [candidate(1.0, 9.0).model_copy(update=sizes)]
    task._correct_predictions()
    assert context.progress.messages[-1] == (
        "nothing is so small; going on with what was found before"
    )
    assert task.excess_bytes == 0


@pytest.mark.parametrize(
    ("limit_ms", "level"),
    [
        pytest.param(9.0, 0.9 * 0.95, id="the fastest is put below the limit"),
        pytest.param(6.2, math.exp(-0.5), id="no further than the interval"),
        pytest.param(6.0, None, id="beyond the interval"),
        pytest.param(11.0, None, id="another limit ended it"),
    ],
)
def test_a_first_search_goes_no_further_down_than_the_interval(
    limit_ms: float, level: float | None
) -> None:
    levels: list[float] = []

    def evolve(level: float, excess_bytes: int) -> Any:
        levels.append(level)
        if level == 1.0:
            raise InfeasibleError("nothing is so fast", fastest_latency_ms=10.0)
        return SimpleNamespace()

    context: Any = SimpleNamespace(config=SimpleNamespace(space=MEDIUM), progress=KeptProgress())
    predictor: Any = SimpleNamespace(
        to_rows=lambda genes: genes, half_width=lambda rows: np.array([0.5] * len(rows))
    )
    limits = Limits(max_latency_ms=limit_ms)
    if level is None:
        with pytest.raises(InfeasibleError):
            initial_search(context, limits, predictor, evolve)
        assert levels == [1.0]
    else:
        assert initial_search(context, limits, predictor, evolve)[1] == pytest.approx(level)
        assert levels == [1.0, pytest.approx(level)]


# -- rounds


ARCHS = list(dict.fromkeys(MEDIUM.sample(np.random.default_rng(i)) for i in range(40)))


def ranked_at(i: int, **changes: Any) -> Candidate:
    """The i-th best."""
    return scored(ARCHS[i], float(i), **{"predicted_ms": 9.0, **changes})


@pytest.fixture
def rounds(tmp_path: Path) -> Any:
    """Make a verification within 10 ms and 40 bytes, whose predictor errs by more than the largest
    step.
    """

    def rounds(
        ranked: Sequence[Candidate], measured: Sequence[Candidate], count: int = 2
    ) -> FinalistMeasurement:
        config = SimpleNamespace(
            search=SimpleNamespace(finalists=count), space=SimpleNamespace(genes=list)
        )
        context: Any = SimpleNamespace(config=config)
        predictor: Any = SimpleNamespace(to_rows=list, half_width=lambda rows: [0.6] * len(rows))
        evolution: Any = SimpleNamespace(ranked=tuple(ranked), front=tuple(ranked))
        evolve: Any = None
        timing = FinalistTiming(context, "dev", noise=0.05)
        limits = Limits(max_latency_ms=10.0, max_memory_bytes=40)
        return FinalistMeasurement(
            timing, limits, evolution, predictor, evolve, measured=list(measured)
        )

    return rounds


@pytest.mark.parametrize(("attempt", "last_ms"), [(1, 7.0), (2, 5.0), (3, 2.0)])
def test_each_round_goes_a_step_further_below_the_limit(
    rounds: Any, attempt: int, last_ms: float
) -> None:
    ranked = [ranked_at(i, predicted_ms=10.0 - i) for i in range(10)]
    chosen = rounds(ranked, [])._next_finalists(attempt)
    assert [c.predicted_ms for c in chosen] == [10.0, last_ms]


def test_better_ones_are_measured_if_they_may_keep_the_limit_by_the_noise(rounds: Any) -> None:
    ranked = [ranked_at(i, predicted_ms=ms) for i, ms in enumerate((9.6, 9.5, 5.0, 4.0))]
    safe = ranked[2].model_copy(update={"measured_ms": 5.0, "measured_memory_bytes": 40})
    assert rounds(ranked, [safe])._next_finalists(2) == [ranked[1]]
