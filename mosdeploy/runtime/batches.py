"""Which inputs share one call of the model."""

from __future__ import annotations

from collections.abc import Sequence


def group_by_length(lengths: Sequence[int], max_rows: int, max_positions: int) -> list[list[int]]:
    """Indices of inputs, longest first, in groups of at most `max_rows` whose padded positions are
    at most `max_positions`; what is longer than that is a group of its own.

    Examples
    --------
    >>> group_by_length([3, 9, 4, 8], max_rows=2, max_positions=100)
    [[1, 3], [2, 0]]
    """
    groups: list[list[int]] = []
    most = 0
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if groups and len(groups[-1]) < most:
            groups[-1].append(i)
        else:
            groups.append([i])
            # the first of a group is its longest: all others are padded to it
            most = min(max_rows, max_positions // max(1, lengths[i]))
    return groups
