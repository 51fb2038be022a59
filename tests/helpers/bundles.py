"""Small bundles with a real tokenizer and a random network; the runtime must do well what the
bundle does badly.
"""

from pathlib import Path

import numpy as np
import torch
from example_spaces import space_of

from mosdeploy.config.sections import ExportConfig
from mosdeploy.export.bundle import BundleOrigin, export_bundle
from mosdeploy.export.parity import ParitySet
from mosdeploy.families.translation.decoding import translate
from mosdeploy.families.translation.network import Subnet
from mosdeploy.families.translation.tokenizer import Tokenizer, train_tokenizer
from mosdeploy.spaces.translation import TranslationSpace, TranslationWorkload

VOCAB_SIZE = 64
CONFIG = ExportConfig(max_source_len=16, max_decode_steps=10, max_score_drop=100.0)
WORDS = (
    *(
        "the",
        "cat",
        "sees",
        "a",
        "small",
        "red",
        "house",
        "and",
        "takes",
        "one",
        "book",
        "from",
        "its",
        "green",
    ),
    *(
        "roof",
        "before",
        "rain",
        "falls",
        "again",
        "with",
        "every",
        "young",
        "quick",
        "fox",
        "jumps",
        "over",
    ),
    *(
        "lazy",
        "dogs",
        "who",
        "never",
        "move",
        "while",
        "bright",
        "winds",
        "blow",
        "past",
        "old",
        "trees",
    ),
)


SPACE = space_of(
    embed_dim=(32,),
    layers=(1,),
    ffn_dim=(48,),
    heads=(2,),
    qkv_dim=24,
    encoder_embed_dim=(24,),
    encoder_layers=(2,),
    decoder_cross_heads=(3,),
    cross_span=(2,),
    norm="pre",
)


def sentences(count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 5))) + "." for _ in range(count)]


def lively_subnet(space: TranslationSpace) -> Subnet:
    """A subnet whose translations depend on the source and change from step to step."""
    generator = torch.Generator().manual_seed(7)
    subnet = Subnet(space.largest, space, VOCAB_SIZE).eval()
    with torch.no_grad():
        for name, weight in subnet.named_parameters():
            scale = (
                1.0
                if "norm.weight" in name
                else 0.1
                if weight.dim() == 1
                else weight.shape[1] ** -0.5
            )
            scale *= (
                3.0 if name.endswith(("q.weight", "k.weight")) else 1.5 if "fc" in name else 1.0
            )
            weight.copy_(scale * torch.randn(weight.shape, generator=generator))
        subnet.embed.weight[3] *= 1.8
    return subnet


def export(folder: Path, precision: str, beam: int = 1) -> Path:
    train_tokenizer(
        [(text, text) for text in sentences(400, 0)], VOCAB_SIZE, folder / "pieces.model"
    )
    tokenizer, subnet, texts = (
        Tokenizer(folder / "pieces.model"),
        lively_subnet(SPACE),
        sentences(12, 1),
    )
    pairs = ParitySet(
        sources=texts,
        source_ids=tokenizer.encode_many(texts),
        reference=lambda sources: translate(
            subnet, sources, beam, CONFIG.max_decode_steps, CONFIG.length_penalty
        ),
        decode=tokenizer.decode,
        bleu=lambda outputs: 0.0,
    )
    export_bundle(
        subnet,
        SPACE.largest,
        SPACE,
        workload=TranslationWorkload(precision=precision, beam=beam),
        config=CONFIG,
        origin=BundleOrigin("random", "en", "en", None, {}),
        tokenizer_path=folder / "pieces.model",
        parity_set=pairs,
        out_dir=folder / "bundle",
    )
    return folder / "bundle"
