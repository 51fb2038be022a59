"""What one latency number of an encoder stands for.

In: sizes from a TOML file. Out: `EncoderWorkload`. This file uses no architecture.
"""

from typing import ClassVar, Literal

from pydantic import Field

from ..record import Name
from .spec import Precision, Workload


class EncoderWorkload(Workload):
    """So many texts of so many tokens at a time."""

    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "int8", "int8-fp32-embedding")

    family: Literal["encoder"] = "encoder"
    name: Name = "text"
    input_len: int = Field(32, ge=1, le=4096)
    batch: int = Field(1, ge=1, le=1024)
