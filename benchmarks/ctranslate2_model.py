"""Our weights in CTranslate2's format, for comparison alone. Needs `pip install
'mosdeploy[bench]'`.

In: a pre-norm subnet of uniform heads and cross spans of 1, which is all that CTranslate2 can
express. Out: a folder that CTranslate2 opens, and a function from piece ids to piece ids.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import ctranslate2
import numpy as np
from ctranslate2.specs import Activation, TransformerSpec
from ctranslate2.specs.common_spec import LayerNormSpec, LinearSpec

from mosdeploy.families.translation.network import Subnet
from mosdeploy.families.translation.onnx_graph import state_arrays
from mosdeploy.spaces.translation import TranslationArch
from mosdeploy.supernet.layers import positions

SPECIAL = ["<pad>", "<unk>", "<s>", "</s>"]


class _Weights:
    """Copies a state dict into CTranslate2's layers."""

    def __init__(self, subnet: Subnet) -> None:
        # copies: CTranslate2 scales and quantises in place
        self.arrays = {
            name: array.copy() for name, array in state_arrays(subnet.state_dict()).items()
        }

    def linear(self, layer: LinearSpec, owner: str, names: Sequence[str]) -> None:
        layer.weight, layer.bias = (
            np.concatenate([self.arrays[f"{owner}{name}.{part}"] for name in names])
            for part in ("weight", "bias")
        )

    def norm(self, layer: LayerNormSpec, name: str) -> None:
        layer.gamma, layer.beta = self.arrays[f"{name}.weight"], self.arrays[f"{name}.bias"]


def num_heads(arch: TranslationArch) -> int:
    """The one number of heads.

    Raises
    ------
    ValueError
        If the architecture is not one of CTranslate2's.
    """
    heads = {layer.heads for layer in arch.encoder_layers}
    heads |= {
        heads for layer in arch.decoder_layers for heads in (layer.self_heads, layer.cross_heads)
    }
    spans = {layer.cross_span for layer in arch.decoder_layers}
    if len(heads) > 1 or spans != {1} or arch.encoder_embed_dim != arch.decoder_embed_dim:
        raise ValueError(
            f"CTranslate2 has one number of heads, one width and cross spans of 1, not {arch}"
        )
    return heads.pop()


def convert(subnet: Subnet, num_positions: int, quantization: str | None, folder: Path) -> None:
    """Write the model; `quantization` is None or CTranslate2's name of a type."""
    weights, arch = _Weights(subnet), subnet.arch
    depths = len(arch.encoder_layers), len(arch.decoder_layers)
    spec = TransformerSpec.from_config(
        depths, num_heads(arch), pre_norm=True, activation=Activation.RELU
    )
    table = weights.arrays["embed.weight"]
    sinusoids = positions(
        0, num_positions, table.shape[1], subnet.table_dim, subnet.embed.weight.device
    ).numpy()
    for name, side in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        embeddings = side.embeddings[0] if isinstance(side.embeddings, list) else side.embeddings
        embeddings.weight, side.scale_embeddings = table, True
        side.position_encodings.encodings = sinusoids
        weights.norm(side.layer_norm, f"{name}.norm")
        for i, layer in enumerate(side.layer):
            key = f"{name}.layers.{i}"
            weights.norm(layer.self_attention.layer_norm, f"{key}.self_attn_norm")
            weights.linear(layer.self_attention.linear[0], f"{key}.self_attn.", "qkv")
            weights.linear(layer.self_attention.linear[1], f"{key}.self_attn.", ["out"])
            if name == "decoder":
                weights.norm(layer.attention.layer_norm, f"{key}.cross_attn_norm")
                for linear, names in zip(layer.attention.linear, ("q", "kv", ["out"]), strict=True):
                    weights.linear(linear, f"{key}.cross_attn.", names)
            weights.norm(layer.ffn.layer_norm, f"{key}.ffn_norm")
            weights.linear(layer.ffn.linear_0, f"{key}.", ["fc1"])
            weights.linear(layer.ffn.linear_1, f"{key}.", ["fc2"])
    spec.decoder.projection.weight = table
    pieces = [*SPECIAL, *(f"t{i}" for i in range(len(SPECIAL), len(table)))]
    spec.register_source_vocabulary(pieces)
    spec.register_target_vocabulary(pieces)
    spec.config.add_source_eos, spec.config.decoder_start_token = True, "<s>"
    spec.validate()
    spec.optimize(quantization=quantization)
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))


def open_model(
    folder: Path,
    compute_type: str,
    threads: int,
    beam: int,
    min_steps: int,
    max_steps: int,
    length_penalty: float,
) -> Callable[[Sequence[int]], list[int]]:
    """Open a converted model; what comes back translates one sentence."""
    translator = ctranslate2.Translator(
        str(folder), device="cpu", compute_type=compute_type, inter_threads=1, intra_threads=threads
    )
    settings = {"beam_size": beam, "length_penalty": length_penalty, "max_input_length": 0}
    limits = {"min_decoding_length": min_steps, "max_decoding_length": max_steps}

    def spell(i: int) -> str:
        return SPECIAL[i] if i < len(SPECIAL) else f"t{i}"

    def translate(ids: Sequence[int]) -> list[int]:
        (result,) = translator.translate_batch([[spell(i) for i in ids]], **settings, **limits)
        return [
            SPECIAL.index(piece) if piece in SPECIAL else int(piece[1:])
            for piece in result.hypotheses[0]
        ]

    return translate
