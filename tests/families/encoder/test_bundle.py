from pathlib import Path

import pytest
from encoder_bundles import encoder_config, export_encoder

from mosdeploy.errors import ExportError
from mosdeploy.export.bundle import read_manifest
from mosdeploy.families.encoder.bundle import (
    answers_with,
    bundle_readme,
    bundle_settings,
    graph_options,
    open_bundle,
)
from mosdeploy.records import SelfTest
from mosdeploy.runtime import Encoder


def test_settings_hold_what_the_runtime_reads() -> None:
    config = encoder_config("tagging")
    assert bundle_settings(config, config.workload) == {
        "kind": "tagging",
        "labels": ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"),
        "num_outputs": 5,
        "num_types": 2,
        "max_input_len": 10,
    }
    config = encoder_config("embedding")
    assert bundle_settings(config, config.workload)["num_outputs"] == 24
    config = encoder_config("regression")
    assert bundle_settings(config, config.workload)["num_outputs"] == 1
    assert graph_options(config).max_positions == 10


def test_a_network_without_answers_is_not_exported() -> None:
    config = encoder_config("masked-lm")
    with pytest.raises(ExportError, match="fine-tune it on a task"):
        bundle_settings(config, config.workload)


def test_the_readme_is_a_model_card_with_an_example(tmp_path: Path) -> None:
    folder = export_encoder(tmp_path, "classification")
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\nlibrary_name: onnx\npipeline_tag: text-classification\n")
    assert "# random: the class of a text\n" in text
    assert "| answers with | bad, fair, good |" in text
    assert "| accuracy on 7 validation texts | 0.00 (the trained network: 0.00) |" in text
    assert "inputs input_ids, attention_mask, token_type_ids, int64" in text
    manifest = read_manifest(folder)
    assert f"    {manifest.self_test[0].output}\n" in text
    quoted = SelfTest(input="it's 'so'", input_ids=(2, 3), answer=(1.5, 0.0, 0.0), output="bad")
    shown = bundle_readme(manifest.model_copy(update={"self_test": (quoted,)}))
    assert r"printf '%s\n' 'it'\''s '\''so'\''' | python -m mosdeploy_runtime ." in shown


def test_it_is_opened_with_the_runtime_of_devices(tmp_path: Path) -> None:
    folder = export_encoder(tmp_path, "embedding")
    assert isinstance(open_bundle(folder, threads=1), Encoder)
    assert answers_with(read_manifest(folder)) == "a vector of 24 numbers, of length 1"
    assert "sentence-similarity" in (folder / "README.md").read_text(encoding="utf-8")
