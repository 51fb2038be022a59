"""A subnet compiled with TVM: encoder and decode step in a library, weights in a file beside it.

In: trained weights, an architecture, a processor. Out: two files. They hold no search: `runtime`
does that. What TVM does here is written by hand, kernel by kernel, since its importer's graphs run
many times slower untuned.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ...errors import ExportError
from ...spaces.genes import ArchConfig, SearchSpace
from ..onnx.initializers import Array, InlineInitializers
from .options import LIBRARY_NAME, PRECISIONS, WEIGHTS_NAME, Processor, Tuning
from .packing import pack_weights

__all__ = ["Processor", "Tuning", "build_tvm"]


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
    tuning: Tuning | None = None,
    notify: Callable[[float, str], None] = lambda seconds, note: None,
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
    tuning
        Search for better schedules on this machine first, or take those on record; None takes the
        untuned ones.
    notify
        Told the seconds spent on tuning, and what came of them.

    Raises
    ------
    ArchError
        If the architecture is not in the space.
    ExportError
        If a weight is missing, of another shape, or not finite; if the precision or the processor
        is not supported, or no compiler can link for it; if tuning is asked for another processor,
        or its records cannot be read.
    """
    try:
        from ...families.translation.tvm import build_module
        from .kernels import TILE_ROWS
        from .library import compile_module, find_linker, link, make_target
        from .tuning import Tuned, tune
    except ImportError as error:
        raise ExportError(
            f"TVM cannot be imported ({error}); run: pip install 'mosdeploy[tvm]'"
        ) from error
    space.check(arch)
    if precision not in PRECISIONS:
        raise ExportError(
            f"a TVM bundle can be {' or '.join(PRECISIONS)}, not {precision}; use --runtime onnxruntime for that"
        )
    target, linker = make_target(processor.machine, processor.cpu), find_linker(processor.machine)
    lookup = InlineInitializers(weights).lookup
    positions = (
        -(-max_positions // TILE_ROWS) * TILE_ROWS
    )  # the encoder's last tile is full, and checks no index
    packed = pack_weights(lookup, arch, space, vocab_size, positions, precision == "int8")
    if tuning is None:
        executable = compile_module(build_module(arch, space, packed, beam, ()), target)
    elif not processor.is_this_one:
        raise ExportError(
            f"tuning times layers on this machine, which is not the {processor} that is compiled for"
        )
    else:
        length = -(-tuning.source_len // TILE_ROWS) * TILE_ROWS
        module = build_module(arch, space, packed, beam, (length,))
        executable = compile_module(module, target, [Tuned(tune(module, target, tuning, notify))])
    link(executable, linker, folder / LIBRARY_NAME)
    with (folder / WEIGHTS_NAME).open("wb") as file:
        for array in packed.values():
            np.save(file, array, allow_pickle=False)
