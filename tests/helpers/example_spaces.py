"""Search spaces of the tests, in a few words each."""

from typing import Any

from hypothesis import strategies as st

from mosdeploy.spaces.translation import (
    DecoderLayerConfig,
    EncoderLayerConfig,
    TranslationArch,
    TranslationSpace,
)


def space_of(
    *, embed_dim: Any, layers: Any, ffn_dim: Any, heads: Any, qkv_dim: int, **others: Any
) -> TranslationSpace:
    """A space with the same choices for encoder and decoder, save for the fields that `others`
    names.
    """
    same = {"embed_dim": embed_dim, "layers": layers, "ffn_dim": ffn_dim}
    fields = {
        f"{side}_{name}": choices
        for side in ("encoder", "decoder")
        for name, choices in same.items()
    }
    fields |= dict.fromkeys(("encoder_heads", "decoder_self_heads", "decoder_cross_heads"), heads)
    return TranslationSpace(**{**fields, "qkv_dim": qkv_dim, **others})


def uneven_space(norm: str) -> TranslationSpace:
    """Unequal widths, heads of width 8, 12 and 24, spans up to the depth."""
    return space_of(
        embed_dim=(20, 28),
        layers=(1, 2),
        ffn_dim=(24, 40),
        heads=(1, 2, 3),
        qkv_dim=24,
        encoder_embed_dim=(20, 32),
        encoder_layers=(1, 2, 3),
        cross_span=(1, 2, 3),
        norm=norm,
    )


WMT = space_of(
    embed_dim=(512, 640),
    encoder_layers=(6,),
    layers=(1, 2, 3, 4, 5, 6),
    ffn_dim=(1024, 2048, 3072),
    heads=(4, 8),
    cross_span=(1, 2, 3),
    qkv_dim=512,
)
"""HAT's for WMT."""

SMALL = space_of(
    embed_dim=(8, 16),
    layers=(1,),
    ffn_dim=(16, 32),
    heads=(1, 2),
    qkv_dim=16,
    encoder_embed_dim=(12, 16),
    encoder_layers=(1, 2),
    cross_span=(1, 2),
    norm="pre",
)
"""A few hundred subnets that train in a moment."""

TINY = space_of(
    encoder_embed_dim=(4, 8),
    embed_dim=(6,),
    layers=(1, 2),
    encoder_ffn_dim=(3, 5),
    ffn_dim=(5,),
    heads=(2,),
    encoder_heads=(1, 2),
    decoder_cross_heads=(4,),
    cross_span=(1, 2),
    qkv_dim=8,
)
"""Small enough to count by hand."""

SMALL_ARCH = TranslationArch(
    encoder_embed_dim=4,
    decoder_embed_dim=6,
    encoder_layers=(EncoderLayerConfig(ffn_dim=3, heads=2),),
    decoder_layers=(DecoderLayerConfig(ffn_dim=5, self_heads=2, cross_heads=4, cross_span=1),),
)
"""In `TINY`."""


def _choices(values: range, most: int = 3) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True).map(tuple)


@st.composite
def spaces(draw: st.DrawFn) -> TranslationSpace:
    """Any space."""
    encoder_layers = draw(_choices(range(1, 5)))
    heads = st.lists(st.sampled_from((1, 2, 4)), min_size=1, unique=True).map(tuple)
    return TranslationSpace(
        encoder_embed_dim=draw(_choices(range(2, 40))),
        decoder_embed_dim=draw(_choices(range(2, 40))),
        encoder_layers=encoder_layers,
        decoder_layers=draw(_choices(range(1, 5))),
        encoder_ffn_dim=draw(_choices(range(1, 4000))),
        decoder_ffn_dim=draw(_choices(range(1, 4000))),
        encoder_heads=draw(heads),
        decoder_self_heads=draw(heads),
        decoder_cross_heads=draw(heads),
        cross_span=draw(_choices(range(1, max(encoder_layers) + 1))),
        qkv_dim=8,
        norm=draw(st.sampled_from(("pre", "post"))),
    )
