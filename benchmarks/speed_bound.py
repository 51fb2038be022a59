"""The bound that the contenders of translation_speed.py are held against: what memory and
arithmetic of this machine allow.

In: a `Task` and what was measured of the machine. Out: milliseconds a sentence.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from speed_task import Task

from mosdeploy.export.quantize import SCHEMES, matrix_bytes, table_bytes
from mosdeploy.record import Record
from mosdeploy.spaces.spec import Precision

T = TypeVar("T")

SCHEME_OF: dict[str, Precision] = {"fp32": "fp32", "int8": "int8-int4-logits", "int4": "int4"}
"""By the width of a contender: the precision of that width that reads the fewest bytes a step."""


class Machine(Record):
    """What the bound is made of."""

    processor: str
    gigabytes_per_s: float
    gigaflops: float


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What it gives, and how many seconds it took."""
    begin = time.perf_counter()
    return work(), time.perf_counter() - begin


def measure_machine() -> Machine:
    """Memory bandwidth of a dot product that fits no cache, and FLOP/s of a matrix product; best of
    several.
    """
    x = torch.ones(2**27)
    a = torch.ones(1024, 1024)
    read_s = min(timed(lambda: x.dot(x))[1] for _ in range(5))
    product_s = min(timed(lambda: a @ a)[1] for _ in range(10))
    info = Path("/proc/cpuinfo").read_text().split("model name")[1].split("\n")[0].strip("\t: ")
    return Machine(
        processor=info,
        gigabytes_per_s=4 * 2**27 / read_s / 1e9,
        gigaflops=2 * 1024**3 / product_s / 1e9,
    )


def bound_ms(width: str, task: Task, machine: Machine) -> float:
    """No way of computing it in this width can be faster. Attention's own products are not
    counted.
    """
    scheme = SCHEMES[SCHEME_OF[width]]
    is_fp32 = width == "fp32"
    products = task.spec().inventory(task.arch).products
    step = [x for x in products if x.part == "step" and x.matrix == "weight"]
    table = table_bytes(task.vocab_size, task.arch.decoder_embed_dim, scheme.table)
    # the upper halves of a quantised table's codes are enough to choose among the tokens
    step_bytes = table if is_fp32 else table // 2
    if task.workload.shortlist:
        step_bytes = 0  # what a shortlist leaves of the table stays in the processor's cache
    step_bytes += sum(matrix_bytes(x.inputs, x.outputs, scheme.step) for x in step)
    encoder_macs = sum(x.num_macs for x in products if x.part == "encoder" and x.matrix == "weight")
    step_macs = sum(x.num_macs for x in products if x.part == "step" and x.matrix != "activation")
    # an int8 product counts a quarter, as with VNNI
    macs_per_s = machine.gigaflops / 2 * 1e9 * (1 if is_fp32 else 4)
    read_s = task.num_steps * step_bytes / machine.gigabytes_per_s / 1e9
    return (encoder_macs / macs_per_s + max(read_s, step_macs / macs_per_s)) * 1e3
