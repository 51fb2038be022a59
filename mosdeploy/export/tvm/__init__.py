"""A subnet compiled with TVM: functions in a library, weights in a file beside it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ExportError
from ...runtime.manifest import LIBRARY_NAME, WEIGHTS_NAME
from ...runtime.threads import leave_tvm_threads_unbound
from .options import (
    PRECISIONS,
    TILE_ROWS,
    Processor,
    Tuning,
    TvmOptions,
    fill_tiles,
)
from .packing import Packed

__all__ = [
    "PRECISIONS",
    "TILE_ROWS",
    "Processor",
    "Tuning",
    "TvmOptions",
    "build_library",
    "fill_tiles",
    "import_tvm",
]

ModuleBuilder = Callable[[Sequence[int]], Any]
"""Padded input lengths that get functions of their own, to a Relax module."""


def import_tvm() -> None:
    """Make sure that TVM is there, and leaves this process on all processors, before anything is
    made for it.
    """
    try:
        import tvm  # noqa: F401
    except ImportError as error:
        raise ExportError(
            f"TVM cannot be imported ({error}); run: pip install 'mosdeploy[tvm]'"
        ) from error
    leave_tvm_threads_unbound()


def build_library(
    build_module: ModuleBuilder, packed: Packed, options: TvmOptions, folder: Path
) -> None:
    """Write `model.so` and `weights.bin` into a folder."""
    import_tvm()
    # these modules import TVM themselves
    from .library import compile_module, find_linker, link, make_target

    processor = options.processor
    tuning = options.tuning
    # both before anything is compiled, since either may raise
    target = make_target(processor.machine, processor.cpu)
    linker = find_linker(processor.machine)
    # without tuning one `encode` serves every length
    if tuning is None:
        executable = compile_module(build_module(()), target)
    elif not processor.is_this_one:
        raise ExportError(
            f"tuning times layers on this machine, which is not the {processor} that is compiled "
            "for; leave tuning out"
        )
    else:
        from .tuning import Tuned, tune

        # only layers whose sizes are all known are tuned: this length gets an `encode` of its own
        module = build_module((tuning.padded_len,))
        database = tune(module, target=target, run=tuning, notify=options.notify)
        executable = compile_module(module, target, [Tuned(database)])
    link(executable, linker, folder / LIBRARY_NAME)
    with (folder / WEIGHTS_NAME).open("wb") as file:
        for array in packed.values():
            # one after the other: the runtime reads arrays until the file ends
            np.save(file, array, allow_pickle=False)
