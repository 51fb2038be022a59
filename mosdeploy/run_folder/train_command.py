"""The command line that trains a supernet, again or as it was asked for, or goes on with one that
was stopped.
"""

from collections.abc import Mapping
from decimal import Decimal

from ..config import RunConfig
from ..config.sections import ParameterCount
from ..records import NO_LIMITS, BegunTraining, Limits, SupernetCard
from .options import TrainOptions, with_defaults

TRAIN = "mosdeploy train"
PARAMETERS = {"max_parameters", "max_body_parameters"}
"""A run file limits one of both."""

_COUNTS = {"M": 10**6, "k": 10**3}
_SIZES = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "B": 1}
_TIMES = {"h": 3600, "m": 60}


def train_command(config: RunConfig, made: BegunTraining | SupernetCard) -> str:
    """What goes on with a stopped training, or trains a supernet anew for what it was
    trained for.
    """
    found = made.limits.limits if made.limits is not None else NO_LIMITS
    said = with_defaults(NO_LIMITS, config.training).model_dump(exclude_none=True)
    left_out = {name for name, most in said.items() if getattr(found, name) == most}
    if isinstance(made, SupernetCard):
        left_out = set(said)
        if left_out & PARAMETERS:
            left_out |= PARAMETERS
    device = made.limits.device if made.limits is not None else None
    return _command(
        found.model_copy(update=dict.fromkeys(left_out)),
        config,
        None if device == config.device else device,
        None if made.budget is None else made.budget.time_s,
    )


def asked_command(asked: TrainOptions, config: RunConfig) -> str:
    """What trains a supernet for what was asked."""
    return _command(asked.limits, config, asked.device, asked.time_s)


def _command(limits: Limits, config: RunConfig, device: str | None, time_s: float | None) -> str:
    words = [TRAIN, *limit_options(limits, config.training.count)]
    if device is not None:
        words.append(f"--device {device}")
    if time_s is not None:
        words.append(f"--time {_exact(time_s, _TIMES)}{'' if _whole(time_s, _TIMES) else 's'}")
    return " ".join(words)


def limit_options(limits: Limits, usual_count: ParameterCount) -> list[str]:
    """The options of limits, each with its value."""
    words = []
    if limits.max_latency_ms is not None:
        words.append(f"--max-latency {_digits(limits.max_latency_ms)}ms")
    counted = {"total": limits.max_parameters, "encoder": limits.max_body_parameters}
    for count, most in counted.items():
        if most is not None:
            words.append(f"--max-parameters {_exact(most, _COUNTS)}")
            words += [f"--count {count}"] if count != usual_count else []
    if limits.max_size_bytes is not None:
        words.append(f"--max-size {_exact(limits.max_size_bytes, _SIZES)}")
    if limits.max_memory_bytes is not None:
        words.append(f"--max-memory {_exact(limits.max_memory_bytes, _SIZES)}")
    return words


def _exact(number: float, units: Mapping[str, int]) -> str:
    """A number in the largest unit in which it is whole; as it is if there is none."""
    unit = _whole(number, units)
    return f"{number / units[unit]:.0f}{unit}" if unit else _digits(number)


def _whole(number: float, units: Mapping[str, int]) -> str:
    return next((unit for unit, size in units.items() if number % size == 0), "")


def _digits(number: float) -> str:
    """All digits of a number, without an exponent, which no option takes."""
    return f"{Decimal(repr(number)).normalize():f}"
