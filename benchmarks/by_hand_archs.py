"""The architectures that a person would pick below a latency limit: uniform ones, by four rules."""

import itertools
from collections.abc import Callable, Sequence

from mosdeploy.spaces.translation import (
    DecoderLayerConfig,
    EncoderLayerConfig,
    TranslationArch,
    TranslationSpace,
)


def uniform_archs(space: TranslationSpace) -> list[TranslationArch]:
    """All architectures of one width, one FFN and the most heads in all layers, and a cross span
    of 1: Transformers as papers have them.
    """
    widths = set(space.encoder_embed_dim) & set(space.decoder_embed_dim)
    ffn_dims = set(space.encoder_ffn_dim) & set(space.decoder_ffn_dim)
    shapes = itertools.product(
        sorted(widths), sorted(ffn_dims), space.encoder_layers, space.decoder_layers
    )
    return [
        TranslationArch(
            encoder_embed_dim=width,
            decoder_embed_dim=width,
            encoder_layers=(EncoderLayerConfig(ffn_dim=ffn, heads=max(space.encoder_heads)),)
            * encoder_layers,
            decoder_layers=(
                DecoderLayerConfig(
                    ffn_dim=ffn,
                    self_heads=max(space.decoder_self_heads),
                    cross_heads=max(space.decoder_cross_heads),
                    cross_span=min(space.cross_span),
                ),
            )
            * decoder_layers,
        )
        for width, ffn, encoder_layers, decoder_layers in shapes
    ]


def picks(
    feasible: Sequence[TranslationArch],
    num_parameters: Callable[[TranslationArch], int],
    count: int = 4,
) -> list[TranslationArch]:
    """At most `count` of the architectures that keep a limit.

    The one with the most parameters; the same of those with as many encoder as decoder layers; a
    deep encoder over a shallow decoder (Kasai et al., ICLR 2021); the deepest. Where rules agree,
    those with the next most parameters fill up.
    """

    def depths(arch: TranslationArch) -> tuple[int, int]:
        return len(arch.encoder_layers), len(arch.decoder_layers)

    by_size = sorted(feasible, key=num_parameters, reverse=True)
    balanced = [arch for arch in by_size if depths(arch)[0] == depths(arch)[1]]
    # sorted is stable: of one depth, the largest comes first
    shallow = sorted(by_size, key=lambda arch: (depths(arch)[1], -depths(arch)[0]))
    deep = sorted(by_size, key=lambda arch: -sum(depths(arch)))
    firsts = [archs[0] for archs in (by_size, balanced, shallow, deep) if archs]
    return list(dict.fromkeys([*firsts, *by_size]))[:count]
