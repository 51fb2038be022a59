"""What one latency number stands for."""

from typing import Literal

from pydantic import Field

from ..record import Name, Record

Precision = Literal["fp32", "fp32-int4-logits", "int8", "int8-int4-logits", "int4"]


class Workload(Record):
    """What one latency number stands for: one sentence, so many pieces in, so many steps out."""

    name: Name = "sentence"
    source_len: int = Field(30, ge=1, le=4096)
    decode_steps: int = Field(30, ge=1, le=4096)
    beam: int = Field(1, ge=1, le=64)
    threads: int = Field(1, ge=1, le=1024)
    precision: Precision = "fp32"
