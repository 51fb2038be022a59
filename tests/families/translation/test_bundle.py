import re

from example_spaces import SMALL_ARCH
from synthetic import manifest, search_result

from mosdeploy.config import load_recipe
from mosdeploy.config.translation import TranslationExportConfig, TranslationRunConfig
from mosdeploy.families.translation.bundle import (
    bundle_readme,
    bundle_settings,
    describe_page,
    draw_architecture,
)
from mosdeploy.records import BundleManifest, ParityReport, SelfTest
from mosdeploy.spaces.translation import (
    DecoderLayerConfig,
    EncoderLayerConfig,
    TranslationArch,
    TranslationWorkload,
)


def config_of(**limits: object) -> TranslationRunConfig:
    config = load_recipe("tiny")  # from English to French
    return config.model_copy(update={"export": TranslationExportConfig(**limits)})


def make_manifest(**changed: object) -> BundleManifest:
    test = SelfTest(input='say "$5"', input_ids=(5,), answer=(6,), output="sag fünf")
    fields = {
        "name": "en-de",
        "precision": "int8",
        "settings": bundle_settings(config_of(), TranslationWorkload(beam=4)),
        "vocab_size": 40,
        "arch": SMALL_ARCH,
        "num_parameters": 12345,
        "workload": TranslationWorkload(),
        "device": None,
        "provenance": {},
        "parity": ParityReport(
            metric="BLEU", num_examples=9, identical=8, torch_score=31.0, bundle_score=30.5
        ),
        "self_test": (test,),
        "sha256": {},
    }
    return BundleManifest(**{**fields, **changed})


def test_the_readme_shows_an_example_for_a_shell() -> None:
    text = bundle_readme(make_manifest())
    assert text.startswith("# en-de: en to fr\n")
    assert "| BLEU on 9 validation examples | 30.50 (the trained network: 31.00) |" in text
    assert "pip install numpy onnxruntime sentencepiece" in text
    assert "printf '%s\\n' 'say \"$5\"' | python -m mosdeploy_runtime ." in text
    assert "    sag fünf\n" in text and "machine code" not in text
    assert 'open_model(".", providers=["CUDAExecutionProvider"])' in text


def test_the_readme_of_a_library_warns() -> None:
    text = bundle_readme(make_manifest(runtime="tvm", processor="aarch64 cortex-a72"))
    assert "`model.so` is machine code for aarch64 cortex-a72: run it only if you trust" in text
    assert "pip install numpy 'apache-tvm" in text
    assert "provider" not in text  # it runs on CPUs alone


ARCH = TranslationArch(
    encoder_embed_dim=96,
    decoder_embed_dim=128,
    encoder_layers=(
        EncoderLayerConfig(ffn_dim=384, heads=4),
        EncoderLayerConfig(ffn_dim=192, heads=2),
        EncoderLayerConfig(ffn_dim=96, heads=2),
    ),
    decoder_layers=(
        DecoderLayerConfig(ffn_dim=192, self_heads=4, cross_heads=2, cross_span=1),
        DecoderLayerConfig(ffn_dim=384, self_heads=2, cross_heads=4, cross_span=2),
    ),
)


def test_layers_are_listed_by_hand() -> None:
    family = describe_page(search_result(), None)
    rows = family.layer_rows(ARCH)
    assert rows == (
        ("encoder 1", 384, 4, "-", "-"),
        ("encoder 2", 192, 2, "-", "-"),
        ("encoder 3", 96, 2, "-", "-"),
        ("decoder 1", 192, 4, 2, "3"),
        ("decoder 2", 384, 2, 4, "2 to 3"),
    )
    assert all(len(row) == len(family.layer_header) for row in rows)


def test_boxes_are_filled_by_the_share_of_the_widest() -> None:
    drawing = draw_architecture(ARCH)
    filled = re.findall(r'width="([\d.]+)" height="44" rx="5" class="fill (\w+)"', drawing)
    assert filled == [
        ("132", "primary"),
        ("66", "primary"),
        ("33", "primary"),
        ("66", "secondary"),
        ("132", "secondary"),
    ]
    assert "Encoder of 3 layers, decoder of 2 layers: enc 96" in drawing
    assert "2: FFN 384<" in drawing and ">2 + 4 heads<" in drawing


def test_one_line_for_each_layer_that_is_read() -> None:
    drawing = draw_architecture(ARCH)
    lines = re.findall(r'y1="(\d+)" x2="180" y2="(\d+)" class="link"', drawing)
    # encoder layer 3 lies at 56, layer 2 at 112; decoder layer 1 at 168, layer 2 at 112
    assert lines == [("56", "168"), ("112", "112"), ("56", "112")]


def test_workload_and_bundle_in_words() -> None:
    search = search_result()
    made = manifest(search.winner.arch)
    family = describe_page(search, made)
    assert family.workload == "20 tokens in, 20 out, beam 1, threads 1, fp32"
    assert family.example_header == ("en", "fr")
    assert family.bundle_facts == (
        ("Languages", "en to fr"),
        ("Decoding", "greedy"),
        ("Longest input, output", "128, 192 tokens"),
    )
    beam = made.model_copy(update={"settings": {**made.settings, "beam": 4}})
    facts = dict(describe_page(search, beam).bundle_facts)
    assert facts["Decoding"] == "beam 4, length penalty 0.6"
