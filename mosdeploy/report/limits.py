"""The limits of a search besides that on latency, and whether what was delivered keeps them."""

from collections.abc import Iterator

from ..record import Record
from ..records import Candidate, Deployment, Limits

PREDICTED = "of weights and activations, predicted"


class LimitVerdict(Record):
    """One limit."""

    name: str
    most: int
    taken: int | None
    counted: str
    kept: bool | None


def other_limits(
    limits: Limits,
    subnet: Candidate,
    built_bytes: int | None,
    deployment: Deployment | None,
    *,
    emulated: bool,
) -> Iterator[LimitVerdict]:
    """Judge each limit but that on latency by the best that is known."""
    counts = (
        ("max_parameters", limits.max_parameters, subnet.num_parameters),
        ("max_body_parameters", limits.max_body_parameters, subnet.num_body_parameters),
    )
    for name, most, taken in counts:
        if most is not None:
            yield _verdict(name, most, taken, "")
    if (most := limits.max_size_bytes) is not None:
        told = "of model and tokenizer" + (", estimated" if built_bytes is None else "")
        taken = subnet.size_bytes if built_bytes is None else built_bytes
        yield _verdict("max_size_bytes", most, taken, told, is_known=built_bytes is not None)
    held = deployment and deployment.max_memory_bytes
    if (most := held or limits.max_memory_bytes) is not None:
        taken, told = _memory(subnet, deployment)
        is_known = not emulated and told != PREDICTED
        yield _verdict("max_memory_bytes", most, taken, told, is_known=is_known)


def _memory(subnet: Candidate, deployment: Deployment | None) -> tuple[int | None, str]:
    """What is known of the memory that it takes, and what that is."""
    if deployment is not None:
        return deployment.measurement.memory_bytes, "of the process, as deployed"
    if subnet.measured_memory_bytes is not None:
        return subnet.measured_memory_bytes, "of the process, during the search"
    return subnet.memory_bytes, PREDICTED


def _verdict(
    name: str, most: int, taken: int | None, counted: str, *, is_known: bool = True
) -> LimitVerdict:
    kept = taken <= most if is_known and taken is not None else None
    return LimitVerdict(name=name, most=most, taken=taken, counted=counted, kept=kept)
