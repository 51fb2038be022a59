"""What a bundle and the report say of a translation: settings, README and page."""

from pathlib import Path
from typing import cast

from markupsafe import Markup

from ...config.translation import TranslationRunConfig
from ...export.bundle import readme
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
from ...runtime import Translator, open_model
from ...runtime.translation import TVM_PACKAGES
from ...spaces.translation import TranslationArch, TranslationWorkload
from .tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID

_MODEL_FILES = {
    "onnxruntime": "`model.onnx` (inputs source_ids, max_steps, min_steps; output output_ids)",
    "tvm": "`model.so` (encoder and decode step), `weights.bin`",
}


def bundle_settings(
    config: TranslationRunConfig, workload: TranslationWorkload, *_: object
) -> dict[str, int | float | str]:
    """Return the settings that the runtime of a translation reads from the manifest."""
    limits = config.export
    return {
        "source_lang": config.corpus.source_lang,
        "target_lang": config.corpus.target_lang,
        "pad_id": PAD_ID,
        "unk_id": UNK_ID,
        "bos_id": BOS_ID,
        "eos_id": EOS_ID,
        "beam": workload.beam,
        "length_penalty": limits.length_penalty,
        "max_source_len": limits.max_source_len,
        "max_decode_steps": limits.max_decode_steps,
    }


def open_bundle(folder: Path, threads: int | None = None, long: str = "cut") -> Translator:
    """Open a bundle with the runtime that devices have, which has no windows for long lines."""
    return cast("Translator", open_model(folder, threads, long=long))


def bundle_readme(manifest: BundleManifest) -> str:
    """The README.md inside a bundle, for people who find the folder on a device."""
    settings = manifest.settings
    longest = f"{settings['max_source_len']} tokens; longer lines are translated in parts"
    engine = "onnxruntime" if manifest.runtime == "onnxruntime" else TVM_PACKAGES
    return readme(
        manifest,
        title="{source_lang} to {target_lang}".format_map(settings),
        facts={"beam": settings["beam"], "longest source": longest},
        packages=f"{engine} sentencepiece",
        files=f"{_MODEL_FILES[manifest.runtime]}, `tokenizer.model` (SentencePiece)",
    )


# -- the page


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
