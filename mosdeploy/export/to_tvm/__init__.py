"""A subnet compiled with TVM: encoder and decode step in a library, weights in a file beside it.

In: trained weights, an architecture, a processor. Out: two files. They hold no search: `runtime` does that. What TVM
does here is written by hand, kernel by kernel, since its importer's graphs run many times slower untuned.
"""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import ExportError
from ...space import ArchConfig, SearchSpace
from ..weights import Array, TrainedWeights
from .packing import pack_weights

LIBRARY_NAME, WEIGHTS_NAME = "model.so", "weights.bin"
PRECISIONS = ("fp32", "int8")


@dataclass(frozen=True)
class Processor:
    """What to compile for: `machine` as `uname -m` says it, `cpu` as LLVM calls it; None means this machine's."""

    machine: str = platform.machine()
    cpu: str | None = None


def build_tvm(
    arch: ArchConfig,
    space: SearchSpace,
    vocab_size: int,
    weights: Mapping[str, Array],
    *,
    beam: int,
    precision: str,
    max_positions: int,
    processor: Processor,
    folder: Path,
) -> None:
    """Write `model.so` and `weights.bin` of a subnet into a folder.

    Parameters
    ----------
    weights
        `Subnet.state_dict()` as float arrays.
    beam
        Hypotheses a sentence; 1 is greedy.
    precision
        fp32; or int8: weights as bytes, computed with in fp32.
    max_positions
        Longest source (end token included) and most decode steps.

    Raises
    ------
    ArchError
        If the architecture is not in the space.
    ExportError
        If a weight is missing, of another shape, or not finite; if the precision or the processor is not supported, or
        no compiler can link for it.
    """
    try:
        from .library import compile_module, find_linker, link, make_target
        from .network import build_module
    except ImportError as error:
        raise ExportError(f"TVM cannot be imported ({error}); run: pip install 'mosdeploy[tvm]'") from error
    space.check(arch)
    if precision not in PRECISIONS:
        raise ExportError(
            f"a TVM bundle can be {' or '.join(PRECISIONS)}, not {precision}; use --runtime onnxruntime for that"
        )
    target, linker = make_target(processor.machine, processor.cpu), find_linker(processor.machine)
    lookup = TrainedWeights(weights).lookup
    packed = pack_weights(lookup, arch, space, vocab_size, max_positions, precision == "int8")
    module = build_module(arch, space, packed, beam, ())
    link(compile_module(module, target), linker, folder / LIBRARY_NAME)
    with (folder / WEIGHTS_NAME).open("wb") as file:
        for array in packed.values():
            np.save(file, array, allow_pickle=False)
