"""Translation's parts of the report: its workload in words, architectures drawn as two stacks of
layers, the settings of its bundle.
"""

from markupsafe import Markup

from ...records import BundleManifest, SearchResult
from ...report import FamilyPage
from ...report.cells import (
    BOX_HEIGHT,
    BOX_WIDTH,
    GAP,
    Stack,
    counted,
    draw_stacks,
    height_of,
    left_of,
    top_of,
)
from ...spaces.translation import TranslationArch, TranslationWorkload

NOTE = (
    "The first layer is at the bottom; the filled part of a box is the width of its feed-forward "
    "network. Lines show which encoder layers the cross-attention of a decoder layer reads."
)

# `Markup.format` escapes whatever is filled in
_LINK = Markup('<line x1="{}" y1="{:g}" x2="{}" y2="{:g}" class="link"/>')


def describe_page(search: SearchResult, manifest: BundleManifest | None) -> FamilyPage:
    """Say what the report needs to know about translation."""
    workload = search.workload
    assert isinstance(workload, TranslationWorkload)
    return FamilyPage(
        workload=(
            f"{workload.source_len} tokens in, {workload.decode_steps} out, beam {workload.beam}, "
            f"threads {workload.threads}, {workload.precision}"
        ),
        task="translates a sentence",
        metric_title="Translation quality",
        draw=draw_architecture,
        drawing_note=NOTE,
        layer_header=("layer", "FFN width", "self heads", "cross heads", "reads encoder layers"),
        layer_rows=layer_rows,
        bundle_facts=() if manifest is None else _bundle_facts(manifest),
        example_header=("source", "translation") if manifest is None else _languages(manifest),
    )


def layer_rows(arch: TranslationArch) -> tuple[tuple[str | int, ...], ...]:
    """A row for each layer: its name, its widths, and what it reads."""
    depth = len(arch.encoder_layers)
    encoder = [
        (f"encoder {i + 1}", x.ffn_dim, x.heads, "-", "-")
        for i, x in enumerate(arch.encoder_layers)
    ]
    decoder = [
        (f"decoder {i + 1}", x.ffn_dim, x.self_heads, x.cross_heads, _reads(x.cross_span, depth))
        for i, x in enumerate(arch.decoder_layers)
    ]
    return (*encoder, *decoder)


def _reads(span: int, depth: int) -> str:
    return str(depth) if span == 1 else f"{depth - span + 1} to {depth}"


def _bundle_facts(manifest: BundleManifest) -> tuple[tuple[str, str], ...]:
    settings = manifest.settings
    decoding = f"beam {settings['beam']}, length penalty {settings['length_penalty']:g}"
    lengths = f"{settings['max_source_len']}, {settings['max_decode_steps']} tokens"
    return (
        ("Languages", " to ".join(_languages(manifest))),
        ("Decoding", "greedy" if settings["beam"] == 1 else decoding),
        ("Longest input, output", lengths),
    )


def _languages(manifest: BundleManifest) -> tuple[str, str]:
    return str(manifest.settings["source_lang"]), str(manifest.settings["target_lang"])


def draw_architecture(arch: TranslationArch) -> Markup:
    """Draw both stacks, first layer at the bottom; the filled part of a box is its FFN width over
    the widest.
    """
    encoder = arch.encoder_layers
    decoder = arch.decoder_layers
    widest = max([x.ffn_dim for x in encoder] + [x.ffn_dim for x in decoder])
    stacks = (
        Stack(
            title=f"Encoder, {arch.encoder_embed_dim} wide",
            shares=[x.ffn_dim / widest for x in encoder],
            texts=[
                (f"{i + 1}: FFN {x.ffn_dim}", counted(x.heads, "head"))
                for i, x in enumerate(encoder)
            ],
            style="primary",
        ),
        Stack(
            title=f"Decoder, {arch.decoder_embed_dim} wide",
            shares=[x.ffn_dim / widest for x in decoder],
            texts=[
                (f"{i + 1}: FFN {x.ffn_dim}", f"{x.self_heads} + {x.cross_heads} heads")
                for i, x in enumerate(decoder)
            ],
            style="secondary",
        ),
    )
    depths = (
        f"Encoder of {counted(len(encoder), 'layer')}, decoder of {counted(len(decoder), 'layer')}"
    )
    links = _cross_attention(arch, height_of(stacks) - GAP)
    return draw_stacks(stacks, f"{depths}: {arch}", links)


def _cross_attention(arch: TranslationArch, bottom: int) -> list[Markup]:
    depth = len(arch.encoder_layers)
    middle = BOX_HEIGHT / 2
    return [
        _LINK.format(
            left_of(0) + BOX_WIDTH,
            top_of(bottom, source) + middle,
            left_of(1),
            top_of(bottom, i) + middle,
        )
        for i, layer in enumerate(arch.decoder_layers)
        for source in range(depth - layer.cross_span, depth)
    ]
