"""Small bundles with a real tokenizer and a random network; the runtime must do well what the
bundle does badly.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from example_spaces import space_of

from mosdeploy.config import load_recipe
from mosdeploy.config.translation import CorpusConfig, TranslationExportConfig
from mosdeploy.export.bundle import (
    BuiltModel,
    BundleJob,
    BundleOrigin,
    ModelBuilder,
    export_bundle,
)
from mosdeploy.export.onnx.builder import Array, GraphOptions, state_arrays, write_model
from mosdeploy.export.parity import ParityExamples
from mosdeploy.export.tvm import Processor
from mosdeploy.families.translation.bundle import (
    bundle_readme,
    bundle_settings,
)
from mosdeploy.families.translation.network import TranslationSubnet
from mosdeploy.families.translation.onnx_graph import build_graph
from mosdeploy.families.translation.scoring import translate
from mosdeploy.families.translation.tokenizer import Tokenizer, train_tokenizer
from mosdeploy.families.translation.tvm import build_tvm
from mosdeploy.runtime import Translator
from mosdeploy.runtime.manifest import ONNX_MODEL_NAME, Manifest, TranslationSettings
from mosdeploy.spaces.spec import ModelSpec
from mosdeploy.spaces.translation import TranslationArch, TranslationSpace, TranslationWorkload

VOCAB_SIZE = 64
EOS_ID = 3
LENGTH_PENALTY = 0.6
LIMITS = TranslationExportConfig(max_source_len=16, max_decode_steps=10, max_score_drop=100.0)
CONFIG = load_recipe("tiny").model_copy(
    update={
        "corpus": CorpusConfig(source_lang="en", target_lang="en", train="none"),
        "export": LIMITS,
    }
)
GRAPH_OPTIONS = GraphOptions(max_positions=17)
_TEXT = """
the cat sees a small red house and takes one book from its green roof before rain falls again
with every young quick fox jumps over lazy dogs who never move while bright winds blow past
old trees
"""
WORDS = _TEXT.split()

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


def random_sources(lengths: Sequence[int], seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(4, VOCAB_SIZE, length).tolist() for length in lengths]


def spec_of(space: TranslationSpace, vocab_size: int = VOCAB_SIZE, **workload: Any) -> ModelSpec:
    """A space under a workload of which some fields are given."""
    return ModelSpec(space, vocab_size, TranslationWorkload(**workload))


# -- networks --------------------------------------------------------------------------------------


def new_subnet(arch: TranslationArch, space: TranslationSpace) -> TranslationSubnet:
    return TranslationSubnet(arch, space, VOCAB_SIZE).eval()


def lively_subnet(
    space: TranslationSpace, arch: TranslationArch | None = None, seed: int = 7
) -> TranslationSubnet:
    """A subnet whose translations depend on the source and change from step to step; the largest if
    no architecture is given.

    Norms of random sign break the tie of input and output embedding; sharp attention makes
    positions count.
    """
    generator = torch.Generator().manual_seed(seed)
    subnet = new_subnet(arch or space.largest, space)
    with torch.no_grad():
        for name, weight in subnet.named_parameters():
            draw = torch.randn(weight.shape, generator=generator)
            weight.copy_(_scale(name, weight) * draw)
        subnet.embed.weight[EOS_ID] *= 1.8  # some sentences end early
    return subnet


def _scale(name: str, weight: torch.Tensor) -> float:
    if "norm.weight" in name:
        return 1.0
    if weight.dim() == 1:
        return 0.1
    gain = 3.0 if name.endswith(("q.weight", "k.weight")) else 1.5 if "fc" in name else 1.0
    return gain * weight.shape[1] ** -0.5


def in_torch(
    subnet: TranslationSubnet,
    sources: Sequence[Sequence[int]],
    beam: int,
    max_steps: int,
    length_penalty: float = LENGTH_PENALTY,
) -> list[list[int]]:
    """Translations of ids, as the trained network makes them."""
    return translate(subnet, sources, beam, max_steps, length_penalty)


def arrays_of(subnet: TranslationSubnet) -> dict[str, Array]:
    return state_arrays(subnet.state_dict())


# -- bundles ---------------------------------------------------------------------------------------


def onnx_builder(subnet: TranslationSubnet, spec: ModelSpec) -> ModelBuilder:
    """What writes the ONNX model of a subnet into a folder."""

    def build(folder: Path) -> BuiltModel:
        graph = build_graph(spec, subnet.arch, arrays_of(subnet), GRAPH_OPTIONS)
        write_model(graph, folder / ONNX_MODEL_NAME)
        return BuiltModel("onnxruntime")

    return build


def make_job(folder: Path, spec: ModelSpec) -> BundleJob:
    """Export the largest subnet; the tokenizer is trained into the folder."""
    tokenizer_path = folder / "trained.model"
    train_tokenizer([(text, text) for text in sentences(400, 0)], VOCAB_SIZE, tokenizer_path)
    return BundleJob(
        family="translation",
        spec=spec,
        arch=spec.space.largest,
        settings=bundle_settings(CONFIG, spec.workload),
        origin=BundleOrigin("random", None, {}),
        tokenizer_path=tokenizer_path,
        limits=LIMITS,
        readme=bundle_readme,
    )


def make_examples(tokenizer_path: Path, subnet: TranslationSubnet, beam: int) -> ParityExamples:
    tokenizer = Tokenizer(tokenizer_path)
    texts = sentences(12, 1)
    return ParityExamples(
        inputs=texts,
        input_ids=tokenizer.encode_many(texts),
        reference=lambda sources: in_torch(subnet, sources, beam, LIMITS.max_decode_steps),
        decode=tokenizer.decode,
        score=lambda outputs: 0.0,
        metric="BLEU",
    )


def export(folder: Path, precision: str, beam: int = 1) -> Path:
    """Write an ONNX bundle of a lively subnet; give its folder."""
    spec = spec_of(SPACE, precision=precision, beam=beam)
    subnet = lively_subnet(SPACE)
    return _export(folder, spec, subnet=subnet, build=onnx_builder(subnet, spec))


def export_tvm(folder: Path) -> Path:
    """Write a TVM bundle of the same subnet, compiled for this machine; give its folder."""
    spec = spec_of(SPACE)
    subnet = lively_subnet(SPACE)

    def build(place: Path) -> BuiltModel:
        return build_tvm(
            spec,
            subnet.arch,
            arrays_of(subnet),
            place,
            max_positions=GRAPH_OPTIONS.max_positions,
            processor=Processor(),
        )

    return _export(folder, spec, subnet=subnet, build=build)


def _export(
    folder: Path, spec: ModelSpec, *, subnet: TranslationSubnet, build: ModelBuilder
) -> Path:
    job = make_job(folder, spec)
    export_bundle(
        job,
        build=build,
        open_bundle=Translator,
        examples=make_examples(job.tokenizer_path, subnet, spec.workload.beam),
        out_dir=folder / "bundle",
    )
    return folder / "bundle"


def open_library(folder: Path, beam: int = 1) -> Any:
    """A compiled subnet of which there is no more than model.so and weights.bin."""
    from mosdeploy.runtime.tvm_engine import TvmEngine

    manifest = Manifest(
        family="translation",
        name="random",
        runtime="tvm",
        precision="fp32",
        threads=1,
        settings={},
        vocab_size=VOCAB_SIZE,
        self_tests=(),
        sha256={},
    )
    settings = TranslationSettings(
        pad_id=0,
        bos_id=2,
        eos_id=EOS_ID,
        beam=beam,
        length_penalty=LENGTH_PENALTY,
        max_source_len=39,
        max_decode_steps=30,
    )
    return TvmEngine(folder, manifest=manifest, settings=settings, threads=1)
