"""Workloads that differ from the run file's in what the command line says."""

from typing import TypeVar

from ..errors import ConfigError
from ..record import parse
from ..spaces.spec import Workload

W = TypeVar("W", bound=Workload)


def changed_workload(workload: W, precision: str | None = None, beam: int | None = None) -> W:
    """A workload with another precision or beam; None leaves what it says.

    Raises
    ------
    ConfigError
        If the precision is unknown, the beam out of range, or the family has no beam search.
    """
    known: tuple[str, ...] = workload.precisions
    if precision is not None and precision not in known:
        raise ConfigError(f"unknown precision '{precision}'; known: {', '.join(known)}, auto")
    if beam is not None and "beam" not in type(workload).model_fields:
        raise ConfigError(f"a {type(workload).__name__} has no beam search; leave --beam out")
    options = (("precision", precision), ("beam", beam))
    changes = {key: value for key, value in options if value is not None}
    return parse(type(workload), {**workload.model_dump(mode="json"), **changes}, "workload")
