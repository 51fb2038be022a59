"""A translation subnet compiled with TVM."""

from collections.abc import Mapping
from pathlib import Path

import torch

from ...errors import ExportError
from ...export.bundle import BuiltModel
from ...export.onnx.builder import Array, InlineInitializers, Lookup
from ...export.tvm import PRECISIONS, Packed, Processor, WeightPacker, fill_tiles, import_tvm
from ...spaces.spec import ModelSpec
from ...spaces.translation import TranslationArch, TranslationSpace, TranslationWorkload
from ...supernet.layers import positions


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


def pack_weights(
    spec: ModelSpec, arch: TranslationArch, lookup: Lookup, num_positions: int
) -> Packed:
    """Pack all weights of a subnet; at int8, matrices as codes with a scale for each output."""
    space = spec.space
    assert isinstance(space, TranslationSpace)
    packer = WeightPacker(lookup, quantized=spec.workload.precision == "int8")
    e = arch.encoder_embed_dim
    d = arch.decoder_embed_dim
    q = space.qkv_dim
    # one table serves both sides and the logits: the narrower side reads its first columns
    widest = max(e, d)
    # first and second: the runtime looks how long they are
    table = positions(0, num_positions, widest, space.max_embed_dim, torch.device("cpu"))
    packer.positions("sinusoids", table.numpy())
    packer.embedding("table", "embed.weight", vocab_size=spec.vocab_size, width=widest)
    for i, encoder_layer in enumerate(arch.encoder_layers):
        owner = f"encoder.layers.{i}"
        _pack_attention(packer, f"{owner}.self_attn", "qkv", width=e, qkv_dim=q)
        _pack_ffn(packer, owner, width=e, ffn_dim=encoder_layer.ffn_dim)
    for i, decoder_layer in enumerate(arch.decoder_layers):
        owner = f"decoder.layers.{i}"
        _pack_attention(packer, f"{owner}.self_attn", "qkv", width=d, qkv_dim=q)
        _pack_attention(packer, f"{owner}.cross_attn", "q", width=d, qkv_dim=q)
        # keys and values are made of the encoder's outputs, so they have e inputs
        packer.linear(f"{owner}.cross_attn", "kv", num_inputs=e, num_outputs=q)
        _pack_ffn(packer, owner, width=d, ffn_dim=decoder_layer.ffn_dim)
    if space.pre_norm:
        packer.norm("encoder.norm", e)
        packer.norm("decoder.norm", d)
    return packer.packed


def _pack_attention(
    packer: WeightPacker, owner: str, parts: str, *, width: int, qkv_dim: int
) -> None:
    """The projections that read the stack's own rows (`q`, or `qkv`), side by side; the output and
    the norm.
    """
    packer.linear(owner, parts, num_inputs=width, num_outputs=qkv_dim)
    packer.linear(owner, ("out",), num_inputs=qkv_dim, num_outputs=width)
    packer.norm(f"{owner}_norm", width)


def _pack_ffn(packer: WeightPacker, owner: str, *, width: int, ffn_dim: int) -> None:
    packer.linear(owner, ("fc1",), num_inputs=width, num_outputs=ffn_dim)
    packer.linear(owner, ("fc2",), num_inputs=ffn_dim, num_outputs=width)
    packer.norm(f"{owner}.ffn_norm", width)
