"""What one latency number of an encoder stands for."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from ..record import Name
from .spec import Precision, Workload


class EncoderWorkload(Workload):
    """So many texts of so many tokens at a time.

    Attributes
    ----------
    padding
        Whether the graph leaves out what texts of a batch are filled up with. Where it is kept, the
        graph has no branches and loops, as execution providers other than the CPU's need it.
    """

    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "int8", "int8-fp32-embedding")

    family: Literal["encoder"] = "encoder"
    name: Name = "text"
    input_len: int = Field(32, ge=1, le=4096)
    batch: int = Field(1, ge=1, le=1024)
    # left out where it is off, so that fingerprints stay what they were
    padding: Literal["removed", "kept"] = Field("removed", exclude_if=lambda x: x == "removed")

    @property
    def possible_precisions(self) -> tuple[Precision, ...]:
        return ("fp32",) if self.padding == "kept" else self.precisions

    @model_validator(mode="after")
    def _padding_is_exact(self) -> Self:
        if self.precision not in self.possible_precisions:
            raise ValueError(
                f'padding = "kept" is for fp32 alone, not {self.precision}: the scale of int8 '
                'activations would depend on the padding; write precision = "fp32", or '
                'padding = "removed"'
            )
        return self
