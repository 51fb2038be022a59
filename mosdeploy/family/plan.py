"""A run file that fits the user's data: what a family is told, and what it plans."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

COMMENT_COLUMN = 41
HELD_OUT = {"valid": ("valid", "validation", "dev"), "test": ("test",)}
"""Names of held-out files beside one with `train` in its name."""


SUPERNET_SHARE = 0.07
"""The supernet's share of the steps of a walk with one winner: a little above the least that chose
well, as measured.
"""
SHARED = 0.19
"""Of the steps of a walk with several winners, over the square root of their number."""
MAX_SHARE = 0.5


@dataclass(frozen=True)
class DataRequest:
    """The user's files and wishes for a run file; None where nothing was named."""

    files: tuple[str, ...]  # as the run file will name them
    root: Path  # the run folder, which relative names start from
    valid: str | None = None
    test: str | None = None
    checkpoint: str | None = None
    size: str | None = None
    languages: tuple[str, str] | None = None
    text: str | None = None
    label: str | None = None
    has_gpu: bool = False
    num_winners: int = 1  # subnets that will be found in one supernet


@dataclass(frozen=True)
class Setting:
    """A key of a run file, its value, and why it has that.

    `steps`: the value counts steps, so that it grows with the time that there is: the `length` of
    a training, or a `part` of one. `at`: the setting where all steps are multiplied by a factor,
    for a value that follows from the length and counts none.
    """

    key: str
    value: object
    why: str = ""
    steps: Literal["length", "part"] | None = None
    at: "Callable[[float], Setting] | None" = None

    @property
    def line(self) -> str:
        """As it stands in TOML."""
        # strings, numbers, booleans and lists of them are written alike in TOML and JSON
        text = f"{self.key} = {json.dumps(self.value, ensure_ascii=False)}"
        return f"{text:<{COMMENT_COLUMN - 1}} # {self.why}" if self.why else text


class DataSizes(NamedTuple):
    """Numbers of training, validation and test examples."""

    train: int
    valid: int
    test: int


@dataclass(frozen=True)
class RunPlan:
    """A run file, and what was found in the data.

    Examples
    --------
    >>> steps = Setting("steps", 100, "one epoch", "length")
    >>> plan = RunPlan("a run", {}, DataSizes(10, 1, 1), {"training": [steps]})
    >>> print(plan.scaled(0.5, "2h").text.splitlines()[-1])
    steps = 50                               # 2h
    """

    title: str  # the first line of the run file
    facts: Mapping[str, str]  # what the data hold, for people
    sizes: DataSizes
    sections: Mapping[str, Sequence[Setting]]  # those of the top have the name ""

    @property
    def text(self) -> str:
        """Content of the run file."""
        lines = [
            f"# mosdeploy run file: {self.title} Written by `mosdeploy init`.",
            "# Every command in this folder reads it; options on the command line win.",
        ]
        for name, settings in self.sections.items():
            lines += ["", *([f"[{name}]"] if name else []), *(x.line for x in settings)]
        return "\n".join(lines) + "\n"

    def scaled(self, factor: float, why: str) -> "RunPlan":
        """The same plan with other numbers of steps, in the same proportions."""
        sections = {
            name: tuple(_scaled(setting, factor, why) for setting in settings)
            for name, settings in self.sections.items()
        }
        return replace(self, sections=sections)

    def with_setting(self, section: str, setting: Setting) -> "RunPlan":
        """The same plan with one more key of a section."""
        settings = (*self.sections.get(section, ()), setting)
        return replace(self, sections={**self.sections, section: settings})


def _scaled(setting: Setting, factor: float, why: str) -> Setting:
    if setting.at is not None:
        return setting.at(factor)
    if setting.steps is None or not isinstance(setting.value, int):
        return setting
    value = max(1, round(setting.value * factor))
    return replace(setting, value=value, why=why if setting.steps == "length" else setting.why)


def rounded_up(number: float, multiple: int) -> int:
    """The least multiple that is not less.

    Examples
    --------
    >>> rounded_up(17.2, 8)
    24
    """
    return -int(-number // multiple) * multiple


def two_digits(number: float) -> int:
    """A whole number with two digits that count, as people write what they chose by rule.

    Examples
    --------
    >>> two_digits(4873), two_digits(7)
    (4900, 7)
    """
    return int(float(f"{number:.2g}"))


def held_out_fraction(num_examples: int) -> float:
    """The share of the examples that is split off for validation, and for the test: about 1,000,
    but no more than a tenth.

    Examples
    --------
    >>> held_out_fraction(5000), held_out_fraction(3_000_000)
    (0.1, 0.00033)
    """
    return min(0.1, float(f"{1000 / max(1, num_examples):.2g}"))


def supernet_share(num_winners: int) -> float:
    """The supernet's share of the steps of a walk with so many winners."""
    if num_winners == 1:
        return SUPERNET_SHARE
    return min(SHARED * math.sqrt(num_winners), MAX_SHARE)


def dropped_fact(dropped: Mapping[str, int]) -> str:
    """Describe how many examples are left out, by reason."""
    return ", ".join(f"{reason} {count:,}" for reason, count in dropped.items()) or "none"
