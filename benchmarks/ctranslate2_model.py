"""Our weights in CTranslate2's format, for comparison alone. Needs `pip install
'mosdeploy[bench]'`.

In: a pre-norm subnet of uniform heads and cross spans of 1, which is all that CTranslate2 can
express. Out: a folder that CTranslate2 opens, and a function from token ids to token ids.
"""

# mypy: disable-error-code="import-not-found, import-untyped"

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import ctranslate2
import numpy as np
from ctranslate2.specs import Activation, TransformerSpec
from ctranslate2.specs.common_spec import LayerNormSpec, LinearSpec

from mosdeploy.export.onnx.builder import state_arrays
from mosdeploy.families.translation.network import TranslationSubnet
from mosdeploy.families.translation.shortlist import Shortlist
from mosdeploy.spaces.translation import TranslationArch
from mosdeploy.supernet.layers import positions

SPECIAL = ["<pad>", "<unk>", "<s>", "</s>"]


@dataclass(frozen=True)
class Search:
    """How a translation is searched for."""

    beam: int
    min_steps: int
    max_steps: int
    length_penalty: float
    use_vmap: bool = False


class _Weights:
    """Copies a state dict into CTranslate2's layers."""

    def __init__(self, subnet: TranslationSubnet) -> None:
        # copies: CTranslate2 scales and quantises in place
        self.arrays = {
            name: array.copy() for name, array in state_arrays(subnet.state_dict()).items()
        }
        # CTranslate2 divides scores by the root of a head's part of the width of the stack
        for name in self.arrays:
            if "_attn.q." in name:
                qkv_dim = len(self.arrays[name])
                self.arrays[name] *= (subnet.arch.decoder_embed_dim / qkv_dim) ** 0.5

    def linear(self, layer: LinearSpec, owner: str, names: Sequence[str]) -> None:
        """Set one layer to several of ours, their outputs side by side."""
        layer.weight = np.concatenate([self.arrays[f"{owner}{name}.weight"] for name in names])
        layer.bias = np.concatenate([self.arrays[f"{owner}{name}.bias"] for name in names])

    def norm(self, layer: LayerNormSpec, name: str) -> None:
        layer.gamma = self.arrays[f"{name}.weight"]
        layer.beta = self.arrays[f"{name}.bias"]


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


def convert(subnet: TranslationSubnet, num_positions: int, compute_type: str, folder: Path) -> None:
    """Write the model; `compute_type` is `float32`, or CTranslate2's name of a narrower type."""
    weights = _Weights(subnet)
    arch = subnet.arch
    depths = (len(arch.encoder_layers), len(arch.decoder_layers))
    spec = TransformerSpec.from_config(
        depths, num_heads(arch), pre_norm=True, activation=Activation.RELU
    )
    table = weights.arrays["embed.weight"]
    device = subnet.embed.weight.device
    sinusoids = positions(0, num_positions, table.shape[1], subnet.table_dim, device).numpy()
    for name, stack in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        embeddings = stack.embeddings[0] if isinstance(stack.embeddings, list) else stack.embeddings
        embeddings.weight = table
        stack.scale_embeddings = True
        stack.position_encodings.encodings = sinusoids
        weights.norm(stack.layer_norm, f"{name}.norm")
        for i, layer in enumerate(stack.layer):
            _set_layer(weights, layer, f"{name}.layers.{i}", is_decoder=name == "decoder")
    spec.decoder.projection.weight = table
    tokens = [_token(i) for i in range(len(table))]
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    spec.config.add_source_eos = True
    spec.config.decoder_start_token = "<s>"
    spec.validate()
    spec.optimize(quantization=None if compute_type == "float32" else compute_type)
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))


def _set_layer(weights: _Weights, layer: TransformerSpec, key: str, is_decoder: bool) -> None:
    weights.norm(layer.self_attention.layer_norm, f"{key}.self_attn_norm")
    weights.linear(layer.self_attention.linear[0], f"{key}.self_attn.", ["q", "k", "v"])
    weights.linear(layer.self_attention.linear[1], f"{key}.self_attn.", ["out"])
    if is_decoder:
        weights.norm(layer.attention.layer_norm, f"{key}.cross_attn_norm")
        for linear, names in zip(layer.attention.linear, (["q"], ["k", "v"], ["out"]), strict=True):
            weights.linear(linear, f"{key}.cross_attn.", names)
    weights.norm(layer.ffn.layer_norm, f"{key}.ffn_norm")
    weights.linear(layer.ffn.linear_0, f"{key}.", ["fc1"])
    weights.linear(layer.ffn.linear_1, f"{key}.", ["fc2"])


def write_vmap(shortlist: Shortlist, folder: Path) -> None:
    """Write a shortlist into a converted model's folder, as CTranslate2 reads it: a source token, a
    tab, target tokens; the first line, of no source token, is for all sentences.
    """
    rows = [("", shortlist.frequent), *((_token(i), row) for i, row in enumerate(shortlist.table))]
    with (folder / "vmap.txt").open("w") as file:
        for source, ids in rows:
            targets = " ".join(_token(int(i)) for i in dict.fromkeys(ids.tolist()))
            file.write(f"{source}\t{targets}\n")


def open_model(
    folder: Path, compute_type: str, search: Search, threads: int
) -> Callable[[Sequence[int]], list[int]]:
    """Open a converted model; what comes back translates one sentence."""
    translator = ctranslate2.Translator(
        str(folder), device="cpu", compute_type=compute_type, inter_threads=1, intra_threads=threads
    )

    def translate(ids: Sequence[int]) -> list[int]:
        (result,) = translator.translate_batch(
            [[_token(i) for i in ids]],
            beam_size=search.beam,
            length_penalty=search.length_penalty,
            max_input_length=0,
            min_decoding_length=search.min_steps,
            max_decoding_length=search.max_steps,
            use_vmap=search.use_vmap,
        )
        return [
            SPECIAL.index(token) if token in SPECIAL else int(token[1:])
            for token in result.hypotheses[0]
        ]

    return translate


def _token(i: int) -> str:
    """CTranslate2 takes text, not ids: any text that stands for one id will do."""
    return SPECIAL[i] if i < len(SPECIAL) else f"t{i}"
