"""Records of the limits of a search and of what it found."""

import math
from typing import Literal

from pydantic import Field

from ..config.sections import ParameterCount, SearchConfig
from ..config.units import (
    Statistic,
    parse_count,
    parse_duration_ms,
    parse_size,
    write_count,
    write_duration_ms,
    write_size,
)
from ..errors import ConfigError
from ..record import Record
from ..spaces import AnyArch, AnyWorkload


class Candidate(Record):
    """One architecture that the search looked at, with the validation loss of the inherited subnet.

    A candidate that was made from a smaller one of lower loss is ranked by that one's, `base_loss`;
    `time_loss` is the part of the loss for the time of training steps.
    """

    arch: AnyArch
    loss: float
    predicted_ms: float | None
    num_parameters: int
    num_body_parameters: int
    size_bytes: int
    memory_bytes: int
    measured_ms: float | None = None
    measured_memory_bytes: int | None = Field(None, exclude_if=lambda found: found is None)
    base_loss: float | None = Field(None, exclude_if=lambda loss: loss is None)
    time_loss: float | None = Field(None, exclude_if=lambda loss: loss is None)


class Limits(Record):
    """What a subnet may cost; None where there is no limit."""

    max_latency_ms: float | None = Field(None, gt=0)
    max_parameters: int | None = Field(None, gt=0)
    max_body_parameters: int | None = Field(None, gt=0, exclude_if=lambda most: most is None)
    max_size_bytes: int | None = Field(None, gt=0)
    max_memory_bytes: int | None = Field(None, gt=0, exclude_if=lambda most: most is None)

    @classmethod
    def read(
        cls,
        max_latency: str | None = None,
        max_parameters: str | int | None = None,
        count: ParameterCount | None = None,
        max_size: str | int | None = None,
        max_memory: str | int | None = None,
    ) -> "Limits":
        """Read limits as users write them: 150ms, 4M, 12MiB."""
        if max_parameters is None and count == "encoder":
            raise ConfigError(
                "count says which parameters a limit counts; give max_parameters "
                "(--max-parameters) too"
            )
        parameters = "max_body_parameters" if count == "encoder" else "max_parameters"
        return cls.model_validate(
            {
                "max_latency_ms": None if max_latency is None else parse_duration_ms(max_latency),
                parameters: None if max_parameters is None else parse_count(max_parameters),
                "max_size_bytes": None if max_size is None else parse_size(max_size),
                "max_memory_bytes": None if max_memory is None else parse_size(max_memory),
            }
        )

    @classmethod
    def configured(cls, config: SearchConfig) -> "Limits":
        """Return the limits that [search] sets."""
        count = None if config.max_parameters is None else config.count
        return cls.read(
            config.max_latency, config.max_parameters, count, config.max_size, config.max_memory
        )

    def filled_up(self, other: "Limits") -> "Limits":
        """Take each limit that is not set from another record."""
        found = other.model_dump(exclude_none=True)
        if self.max_parameters is not None or self.max_body_parameters is not None:
            found.pop("max_parameters", None)
            found.pop("max_body_parameters", None)
        return Limits.model_validate(found | self.model_dump(exclude_none=True))

    def options(self, usual_count: ParameterCount) -> list[str]:
        """Return the command-line options that set these limits."""
        words = []
        if self.max_latency_ms is not None:
            words.append(f"--max-latency {write_duration_ms(self.max_latency_ms)}")
        for count, most in (("total", self.max_parameters), ("encoder", self.max_body_parameters)):
            if most is not None:
                words.append(f"--max-parameters {write_count(most)}")
                words += [f"--count {count}"] if count != usual_count else []
        if self.max_size_bytes is not None:
            words.append(f"--max-size {write_size(self.max_size_bytes)}")
        if self.max_memory_bytes is not None:
            words.append(f"--max-memory {write_size(self.max_memory_bytes)}")
        return words


NO_LIMITS = Limits()


class SearchResult(Record):
    """The winner, the front and what was measured."""

    version: Literal[3] = 3
    device: str
    workload: AnyWorkload
    limits: Limits
    statistic: Statistic = Field("median", exclude_if=lambda name: name == "median")
    space_sha256: str
    supernet_sha256: str
    predictor_sha256: str | None
    winner: Candidate
    verified: bool
    finalists: tuple[Candidate, ...]
    front: tuple[Candidate, ...]
    num_evaluated: int
    level: float = 1.0
    weighs_time: bool = Field(False, exclude_if=lambda found: not found)
    seed: int

    @property
    def deliverable(self) -> tuple[Candidate, ...]:
        """What can be delivered from it: the finalists that kept the limit, and the front."""
        return (*self.kept, *self.front)

    @property
    def kept(self) -> tuple[Candidate, ...]:
        """The finalists that kept the limits as measured; the winner alone where none was
        measured.
        """
        if not self.finalists:
            return (self.winner,)
        limit_ms = self.limits.max_latency_ms or math.inf
        limit_bytes = self.limits.max_memory_bytes or math.inf
        return tuple(
            candidate
            for candidate in self.finalists
            # one that could not be timed kept nothing
            if candidate.measured_ms is not None
            and candidate.measured_ms <= limit_ms
            and (candidate.measured_memory_bytes or 0) <= limit_bytes
        )
