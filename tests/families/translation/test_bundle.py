from example_spaces import SMALL_ARCH

from mosdeploy.config import load_recipe
from mosdeploy.config.translation import TranslationExportConfig, TranslationRunConfig
from mosdeploy.families.translation.bundle import (
    bundle_readme,
    bundle_settings,
)
from mosdeploy.records import BundleManifest, ParityReport, SelfTest
from mosdeploy.spaces.translation import TranslationWorkload


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


def test_settings_hold_what_the_runtime_reads() -> None:
    config = config_of(max_source_len=20, max_decode_steps=30, length_penalty=0.5)
    assert bundle_settings(config, TranslationWorkload(beam=4)) == {
        "source_lang": "en",
        "target_lang": "fr",
        "pad_id": 0,
        "unk_id": 1,
        "bos_id": 2,
        "eos_id": 3,
        "beam": 4,
        "length_penalty": 0.5,
        "max_source_len": 20,
        "max_decode_steps": 30,
    }


def test_the_readme_shows_an_example_for_a_shell() -> None:
    text = bundle_readme(make_manifest())
    assert text.startswith("# en-de: en to fr\n")
    assert "| BLEU on 9 validation sentences | 30.50 (the trained network: 31.00) |" in text
    assert "pip install numpy onnxruntime sentencepiece" in text
    assert "printf '%s\\n' 'say \"$5\"' | python -m mosdeploy_runtime ." in text
    assert "    sag fünf\n" in text and "machine code" not in text
    assert "    python -m mosdeploy_runtime . --provider CUDAExecutionProvider\n" in text
    assert 'open_model(".", providers=["CUDAExecutionProvider"])' in text


def test_the_readme_of_a_library_warns() -> None:
    text = bundle_readme(make_manifest(runtime="tvm", processor="aarch64 cortex-a72"))
    assert "`model.so` is machine code for aarch64 cortex-a72: run it only if you trust" in text
    assert "pip install numpy 'apache-tvm" in text
    assert "provider" not in text  # it runs on CPUs alone
