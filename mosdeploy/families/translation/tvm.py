"""A translation subnet compiled with TVM."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import ExportError
from ...export.bundle import BuiltModel
from ...export.onnx.initializers import Array, InlineInitializers
from ...export.tvm import PRECISIONS, Processor, TvmOptions, build_library, fill_tiles, import_tvm
from ...export.tvm.packing import Packed
from ...spaces.spec import ModelSpec
from ...spaces.translation import TranslationSpace
from ...spaces.translation_arch import TranslationArch
from ...spaces.translation_workload import TranslationWorkload
from .tvm_packing import pack_weights


def build_tvm(
    spec: ModelSpec,
    arch: TranslationArch,
    weights: Mapping[str, Array],
    options: TvmOptions,
    folder: Path,
) -> BuiltModel:
    """Write `model.so` and `weights.bin` of a subnet into a folder."""
    spec.space.check(arch)
    precision = spec.workload.precision
    if precision not in PRECISIONS:
        raise ExportError(
            f"a TVM bundle can be {' or '.join(PRECISIONS)}, not {precision}; "
            "use --runtime onnxruntime for that"
        )
    if isinstance(spec.workload, TranslationWorkload) and spec.workload.shortlist:
        raise ExportError(
            "a TVM bundle scores the whole vocabulary; use --shortlist 0, or --runtime onnxruntime"
        )
    import_tvm()
    # the encoder's last tile is always full, and compiled code checks no index
    num_positions = fill_tiles(options.max_positions)
    lookup = InlineInitializers(weights).lookup
    # packed once: libraries of all processors read the same weights
    packed = pack_weights(spec, arch, lookup=lookup, num_positions=num_positions)
    build_module = partial(_build_module, spec, arch, packed)
    build_library(build_module, packed, options=options, folder=folder)
    processor = options.processor
    if processor.is_this_one:
        return BuiltModel("tvm", str(processor))
    native = folder.with_name("for-this-machine")
    native.mkdir(exist_ok=True)
    # `tuning` is None here, since it is refused for a processor that is not this one
    here = replace(options, processor=Processor())
    build_library(build_module, packed, options=here, folder=native)
    return BuiltModel("tvm", str(processor), native)


def _build_module(
    spec: ModelSpec, arch: TranslationArch, packed: Packed, lengths: Sequence[int]
) -> Any:
    from .tvm_network import NetworkSpec, build_module  # imports TVM

    assert isinstance(spec.space, TranslationSpace)
    assert isinstance(spec.workload, TranslationWorkload)
    network = NetworkSpec(arch, spec.space, packed=packed, beam=spec.workload.beam)
    return build_module(network, lengths)
