"""The winner's architecture as a drawing: two stacks of layers, and which encoder layers each
decoder layer reads.

In: an `TranslationArch`. Out: one `<figure>`; the page puts a table with the same content beside
it.
"""

from ...report.markup import Markup, element
from ...spaces.translation import TranslationArch

WIDTH = 640
BOX_WIDTH, BOX_HEIGHT, GAP, HEAD = 244, 34, 12, 34
ENCODER_LEFT, DECODER_LEFT = 8, WIDTH - 8 - BOX_WIDTH


def draw_architecture(arch: TranslationArch) -> Markup:
    """Draw both stacks, first layer at the bottom; the filled part of a box is its FFN width over
    the widest.
    """
    num_rows = max(len(arch.encoder_layers), len(arch.decoder_layers))
    height = HEAD + num_rows * (BOX_HEIGHT + GAP)
    widest = max(
        [x.ffn_dim for x in arch.encoder_layers] + [x.ffn_dim for x in arch.decoder_layers]
    )
    depths = f"Encoder of {len(arch.encoder_layers)} layers, decoder of {len(arch.decoder_layers)} layers"
    bottom = height - GAP
    encoder = [
        _box(
            ENCODER_LEFT,
            _top(bottom, i),
            x.ffn_dim / widest,
            f"{i + 1}: FFN {x.ffn_dim}, {x.heads} heads",
            "encoder",
        )
        for i, x in enumerate(arch.encoder_layers)
    ]
    decoder = [
        _box(
            DECODER_LEFT,
            _top(bottom, i),
            x.ffn_dim / widest,
            f"{i + 1}: FFN {x.ffn_dim}, {x.self_heads} + {x.cross_heads} heads",
            "decoder",
        )
        for i, x in enumerate(arch.decoder_layers)
    ]
    svg = element(
        "svg",
        element("title", "The winner's architecture"),
        _name(ENCODER_LEFT, f"Encoder, {arch.encoder_embed_dim} wide"),
        _name(DECODER_LEFT, f"Decoder, {arch.decoder_embed_dim} wide"),
        *_cross_attention(arch, bottom),
        *encoder,
        *decoder,
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        aria_label=f"{depths}: {arch}",
        class_="chart drawing",
    )
    return element("figure", element("div", svg, class_="scroll"))


def _top(bottom: float, layer: int) -> float:
    return bottom - BOX_HEIGHT - layer * (BOX_HEIGHT + GAP)


def _name(left: float, text: str) -> Markup:
    return element("text", text, x=left + BOX_WIDTH / 2, y=20, text_anchor="middle", class_="name")


def _box(left: float, top: float, share: float, text: str, style: str) -> Markup:
    return element(
        "g",
        element("rect", x=left, y=top, width=BOX_WIDTH, height=BOX_HEIGHT, rx=5, class_="box"),
        element(
            "rect",
            x=left,
            y=top,
            width=round(BOX_WIDTH * share, 1),
            height=BOX_HEIGHT,
            rx=5,
            class_=f"fill {style}",
        ),
        element("text", text, x=left + 10, y=top + BOX_HEIGHT / 2 + 4.5, class_="layer"),
    )


def _cross_attention(arch: TranslationArch, bottom: float) -> list[Markup]:
    depth, middle = len(arch.encoder_layers), BOX_HEIGHT / 2
    return [
        element(
            "line",
            x1=ENCODER_LEFT + BOX_WIDTH,
            y1=_top(bottom, source) + middle,
            x2=DECODER_LEFT,
            y2=_top(bottom, i) + middle,
            class_="cross",
        )
        for i, layer in enumerate(arch.decoder_layers)
        for source in range(depth - layer.cross_span, depth)
    ]
