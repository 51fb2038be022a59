"""A translation subnet compiled with TVM."""

from collections.abc import Mapping
from pathlib import Path

from ...errors import ExportError
from ...export.bundle import BuiltModel
from ...export.onnx.initializers import Array, InlineInitializers
from ...export.tvm import PRECISIONS, Processor, fill_tiles, import_tvm
from ...spaces.spec import ModelSpec
from ...spaces.translation import TranslationSpace
from ...spaces.translation_arch import TranslationArch
from ...spaces.translation_workload import TranslationWorkload
from .tvm_packing import pack_weights


def build_tvm(
    spec: ModelSpec,
    arch: TranslationArch,
    weights: Mapping[str, Array],
    folder: Path,
    *,
    max_positions: int,
    processor: Processor,
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
    from ...export.tvm.library import write_library
    from .tvm_network import NetworkSpec, build_module

    assert isinstance(spec.space, TranslationSpace)
    assert isinstance(spec.workload, TranslationWorkload)
    # the encoder's last tile is always full, and compiled code checks no index
    num_positions = fill_tiles(max_positions)
    lookup = InlineInitializers(weights).lookup
    # packed once: libraries of all processors read the same weights
    packed = pack_weights(spec, arch, lookup=lookup, num_positions=num_positions)
    network = NetworkSpec(arch, spec.space, packed=packed, beam=spec.workload.beam)
    write_library(build_module(network), packed, processor, folder)
    if processor.is_this_one:
        return BuiltModel("tvm", str(processor))
    native = folder.with_name("for-this-machine")
    native.mkdir(exist_ok=True)
    write_library(build_module(network), packed, Processor(), native)
    return BuiltModel("tvm", str(processor), native)
