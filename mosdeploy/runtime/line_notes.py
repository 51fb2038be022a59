"""What answers tell of their lines: how many were longer than a model takes, and what became of
them; how many held one text where the model has learned two, or two where it has learned one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class LineNotes:
    """A count over answers, as `Encoder.answer` gives them.

    Attributes
    ----------
    num_lines
        How many answers were counted.
    num_cut, num_windowed, num_windows
        Lines that were cut, lines that were read in windows, and windows of all those together.
    num_single
        Lines of one text, for a model of two.
    num_joined
        Lines of two texts, for a model of one.
    num_unfinished
        Lines whose translation was cut.

    Examples
    --------
    >>> print(LineNotes([{"label": "yes"}, {"label": "no", "num_windows": 3}]))
    1 of 2 lines were too long and were read in 3 windows
    """

    def __init__(self, answers: Iterable[Mapping[str, Any]] = ()) -> None:
        self.num_lines = 0
        self.num_cut = 0
        self.num_windowed = 0
        self.num_windows = 0
        self.num_single = 0
        self.num_joined = 0
        self.num_unfinished = 0
        self.add(answers)

    def add(self, answers: Iterable[Mapping[str, Any]]) -> None:
        """Count more answers."""
        for answer in answers:
            windows = answer.get("num_windows", 0)
            self.num_lines += 1
            self.num_cut += "is_cut" in answer
            self.num_windowed += windows > 0
            self.num_windows += windows
            self.num_single += "is_single" in answer
            self.num_joined += "is_joined" in answer
            self.num_unfinished += "is_unfinished" in answer

    def __str__(self) -> str:
        """One line for people; nothing if there is nothing to tell."""
        found = []
        if self.num_cut:
            found.append(f"{self.num_cut} of {self.num_lines} lines were too long and were cut")
        if self.num_windowed:
            found.append(
                f"{self.num_windowed} of {self.num_lines} lines were too long and were read in "
                f"{self.num_windows} windows"
            )
        if self.num_single:
            found.append(
                f"{self.num_single} of {self.num_lines} lines hold one text, and the model has "
                "learned two together: a tab separates them, or text_pair in JSON"
            )
        if self.num_joined:
            found.append(
                f"{self.num_joined} of {self.num_lines} lines hold a tab, or text_pair in JSON, "
                "and the model has learned single texts: it was read as a space"
            )
        if self.num_unfinished:
            found.append(
                f"{self.num_unfinished} of {self.num_lines} translations were cut at the most "
                "tokens that the bundle makes of a line (export.max_decode_steps)"
            )
        return "; ".join(found)
