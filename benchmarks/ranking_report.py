"""What ranking.py prints: how well numbers of architectures rank what they come to."""

from collections.abc import Callable, Mapping, Sequence
from operator import methodcaller
from statistics import mean
from typing import TypeVar

import numpy as np
from scipy.stats import kendalltau

from mosdeploy.cli.printing import table
from mosdeploy.record import Record

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Of an architecture's own steps, after which its validation loss judges it."""
Found = TypeVar("Found", bound="Inherited")


class Inherited(Record):
    """One architecture: its size, and losses, BLEU and chrF of what it inherits."""

    arch: str
    num_parameters: int
    inherited: dict[str, float]


class Judged(Inherited):
    """The same with its steps, validation losses in the course of its training by step, and what it
    came to.
    """

    steps: int
    losses: dict[int, float]
    trained: dict[str, float]

    def loss_after(self, share: float) -> float:
        """The last validation loss within a share of the steps."""
        return self.losses[max(step for step in self.losses if step <= share * self.steps)]


UNTRAINED: dict[str, Callable[[Inherited], float]] = {
    "inherited loss": lambda one: one.inherited["loss"],
    "inherited smoothed loss": lambda one: one.inherited["smoothed_loss"],
    "inherited BLEU": lambda one: -one.inherited["BLEU"],
    "inherited chrF": lambda one: -one.inherited["chrF"],
    "parameters": lambda one: -one.num_parameters,
}
TRAINED: dict[str, Callable[[Judged], float]] = {
    f"loss after {share:.0%} of its steps": methodcaller("loss_after", share) for share in SHARES
}
FINAL: dict[str, Callable[[Judged], float]] = {
    "final loss": lambda one: one.trained["loss"],
    "final BLEU": lambda one: -one.trained["BLEU"],
    "final chrF": lambda one: -one.trained["chrF"],
}
"""The lower, the better."""
OUTCOMES: dict[str, Callable[[Sequence[float]], float]] = {"loss": min, "BLEU": max, "chrF": max}
"""What architectures are ranked by, and which is the best."""


class Ranked(Record):
    """How well one judge ranks the architectures of one supernet.

    Attributes
    ----------
    outcome_seeds
        Of the trainings whose outcomes count, in the mean.
    tau
        Kendall's, with each outcome; positive where the better is called better.
    chosen, average, best
        Each outcome: of the architecture that the judge chooses, and over all of them.
    """

    supernet_steps: int
    seed: int
    judge: str
    outcome_seeds: tuple[int, ...]
    tau: dict[str, float]
    chosen: dict[str, float]
    average: dict[str, float]
    best: dict[str, float]


def reached(trainings: Sequence[Sequence[Judged]]) -> dict[str, list[float]]:
    """Each outcome of each architecture, in the mean over trainings."""
    return {
        name: [mean(one.trained[name] for one in same) for same in zip(*trainings, strict=True)]
        for name in OUTCOMES
    }


def ranked(
    steps: int,
    seed: int,
    judges: Mapping[str, Callable[[Found], float]],
    archs: Sequence[Found],
    reached: Mapping[str, Sequence[float]],
    outcome_seeds: tuple[int, ...],
) -> list[Ranked]:
    """What each judge is worth."""
    found = []
    for name, judgement in judges.items():
        values = [judgement(one) for one in archs]
        chosen = int(np.argmin(values))
        tau = {
            outcome: kendalltau(values, reached[outcome]).statistic * (1 if best is min else -1)
            for outcome, best in OUTCOMES.items()
        }
        found.append(
            Ranked(
                supernet_steps=steps,
                seed=seed,
                judge=name,
                outcome_seeds=outcome_seeds,
                tau={outcome: float(value) for outcome, value in tau.items()},
                chosen={outcome: all_[chosen] for outcome, all_ in reached.items()},
                average={outcome: mean(all_) for outcome, all_ in reached.items()},
                best={outcome: OUTCOMES[outcome](all_) for outcome, all_ in reached.items()},
            )
        )
    return found


def print_table(rows: list[Ranked]) -> None:
    """A line for each supernet and judge."""
    header = [
        "supernet",
        "seed",
        "judge",
        "of seeds",
        "tau to loss",
        "to BLEU",
        "to chrF",
        "loss",
        "BLEU",
    ]
    lines = [
        [
            str(row.supernet_steps),
            str(row.seed),
            row.judge,
            ", ".join(map(str, row.outcome_seeds)),
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
