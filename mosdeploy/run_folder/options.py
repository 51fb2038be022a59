"""Options that several verbs take: limits, and what a supernet is trained for."""

from dataclasses import dataclass

from ..config.sections import LimitsConfig, ParameterCount
from ..config.units import parse_count, parse_duration_ms, parse_size
from ..errors import ConfigError
from ..record import parse
from ..records import NO_LIMITS, Limits


@dataclass(frozen=True)
class TrainOptions:
    """What a supernet is trained for."""

    device: str | None = None
    limits: Limits = NO_LIMITS
    time_s: float | None = None


def with_defaults(limits: Limits, config: LimitsConfig) -> Limits:
    """Limits that were asked for, filled up from a section of the run file."""
    latency = config.max_latency and parse_duration_ms(config.max_latency)
    parameters = config.max_parameters and parse_count(config.max_parameters)
    size = config.max_size and parse_size(config.max_size)
    memory = config.max_memory and parse_size(config.max_memory)
    counted = limits
    if parameters and limits.max_parameters is None and limits.max_body_parameters is None:
        counted = limit_parameters(parameters, config.count)
    return Limits(
        max_latency_ms=limits.max_latency_ms or latency or None,
        max_parameters=counted.max_parameters,
        max_body_parameters=counted.max_body_parameters,
        max_size_bytes=limits.max_size_bytes or size or None,
        max_memory_bytes=limits.max_memory_bytes or memory or None,
    )


def limit_parameters(most: int | None, count: ParameterCount | None) -> Limits:
    """A limit on the parameters that are counted: all, or those of the encoder without its
    embedding table.
    """
    if most is None and count == "encoder":
        raise ConfigError(
            "count says which parameters a limit counts; give max_parameters (--max-parameters) too"
        )
    name = "max_body_parameters" if count == "encoder" else "max_parameters"
    return parse(Limits, {name: most}, "limits")
