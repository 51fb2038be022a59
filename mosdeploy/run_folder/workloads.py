"""Workloads that differ from the run file's in what the command line says."""

from collections.abc import Mapping
from typing import TypeVar

from ..errors import ConfigError
from ..record import parse
from ..spaces.spec import Workload

W = TypeVar("W", bound=Workload)


def changed_workload(
    workload: W,
    precision: str | None = None,
    beam: int | None = None,
    others: Mapping[str, object] | None = None,
) -> W:
    """A workload with another precision or beam, or other values of further fields; None leaves
    what it says.
    """
    known: tuple[str, ...] = workload.precisions
    if precision is not None and precision not in known:
        raise ConfigError(f"unknown precision '{precision}'; known: {', '.join(known)}, auto")
    options = {"precision": precision, "beam": beam, **(others or {})}
    changes = {key: value for key, value in options.items() if value is not None}
    unknown = changes.keys() - type(workload).model_fields.keys()
    if unknown:
        raise ConfigError(
            f"models of this family have no {min(unknown)}: leave it out; their workloads have "
            f"{', '.join(type(workload).model_fields)}"
        )
    return parse(type(workload), {**workload.model_dump(mode="json"), **changes}, "workload")
