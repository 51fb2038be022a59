"""In which order the compiled functions of a translation take their weights."""

import torch

from ...export.onnx.initializers import Lookup
from ...export.tvm.packing import Packed, WeightPacker
from ...spaces.spec import ModelSpec
from ...spaces.translation import TranslationSpace
from ...spaces.translation_arch import TranslationArch
from ...supernet.embedding import positions

POSITIONS_NAME = "sinusoids"
TABLE_NAME = "table"


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
    packer.positions(POSITIONS_NAME, table.numpy())
    packer.embedding(TABLE_NAME, "embed.weight", vocab_size=spec.vocab_size, width=widest)
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
