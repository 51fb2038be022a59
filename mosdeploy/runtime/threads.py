"""How many threads a bundle may use."""

from __future__ import annotations

from numbers import Integral

from .errors import InputError


def num_threads(asked: object, measured: int) -> int:
    """Threads to use: as many as are asked for, else as the bundle was measured with.

    Raises
    ------
    InputError
        If what is asked for is no positive whole number.

    Examples
    --------
    >>> num_threads(None, measured=4)
    4
    """
    if asked is None:
        return measured
    if isinstance(asked, bool) or not isinstance(asked, Integral) or asked < 1:
        raise InputError(
            f"threads is a positive whole number, or None for those that the bundle was measured "
            f"with, not {asked!r}"
        )
    return int(asked)
