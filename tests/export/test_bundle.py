import json
from pathlib import Path

import onnx
import pytest
from networks import EOS_ID, VOCAB_SIZE, small_space

from mosdeploy.config.sections import ExportConfig
from mosdeploy.errors import BundleError, ExportError
from mosdeploy.export.bundle import BundleOrigin, export_bundle, read_manifest
from mosdeploy.export.candidate import bundle_bytes
from mosdeploy.export.parity import ExportedModel, ParitySet
from mosdeploy.families.translation.decoding import translate
from mosdeploy.families.translation.network import Subnet
from mosdeploy.records import BundleManifest
from mosdeploy.spaces.translation import TranslationWorkload
from mosdeploy.storage import sha256_file

CONFIG = ExportConfig(max_source_len=10, max_decode_steps=12)
SOURCE_IDS = [[4 + (7 * i + k) % 8 for k in range(1 + i % 5)] for i in range(20)]
NAMES = {"model.onnx", "tokenizer.model", "manifest.json", "README.md"}


def export(
    subnet: Subnet, out_dir: Path, reference: Subnet | None = None, **changed: object
) -> BundleManifest:
    beam = changed.get("workload", TranslationWorkload()).beam
    tokenizer_path = out_dir.parent / "pieces.model"
    tokenizer_path.parent.mkdir(exist_ok=True)
    tokenizer_path.write_bytes(b"pieces")
    settings = {
        "workload": TranslationWorkload(),
        "config": CONFIG,
        "origin": BundleOrigin("reverser", "ab", "ba", "local", {"supernet": "0" * 64}),
        "tokenizer_path": tokenizer_path,
        "parity_set": ParitySet(
            sources=[" ".join(map(str, ids)) for ids in SOURCE_IDS],
            source_ids=SOURCE_IDS,
            reference=lambda sources: translate(
                reference or subnet, sources, beam, 12, CONFIG.length_penalty
            ),
            decode=lambda ids: " ".join(map(str, ids)),
            bleu=lambda texts: 50.0,
        ),
        "out_dir": out_dir,
        **changed,
    }
    return export_bundle(subnet, small_space().largest, small_space(), **settings)


@pytest.mark.parametrize(
    "workload",
    [TranslationWorkload(), TranslationWorkload(beam=3), TranslationWorkload(precision="int8")],
)
def test_a_bundle_holds_what_its_manifest_says(
    trained_subnet: Subnet, tmp_path: Path, workload: TranslationWorkload
) -> None:
    manifest = export(trained_subnet, tmp_path / "bundles" / "b", workload=workload)
    folder = tmp_path / "bundles" / "b"
    assert {path.name for path in folder.iterdir()} == NAMES
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == ["b"]
    assert read_manifest(folder) == manifest
    assert manifest.sha256 == {
        name: sha256_file(folder / name) for name in NAMES - {"manifest.json"}
    }
    assert (manifest.precision, manifest.beam, manifest.vocab_size) == (
        workload.precision,
        workload.beam,
        VOCAB_SIZE,
    )
    assert manifest.num_parameters == sum(x.numel() for x in trained_subnet.parameters())
    size = (folder / "model.onnx").stat().st_size
    assert bundle_bytes(
        small_space().largest, small_space(), VOCAB_SIZE, workload.precision, workload.beam
    ) == pytest.approx(size, rel=0.02)
    assert all(
        x.data_location != onnx.TensorProto.EXTERNAL
        for x in onnx.load(folder / "model.onnx").graph.initializer
    )


def test_the_self_test_is_what_the_model_answers_to_each_sentence_alone(
    trained_subnet: Subnet, tmp_path: Path
) -> None:
    tests = export(trained_subnet, tmp_path / "b").self_test
    assert len(tests) == 3 and len({len(test.source_ids) for test in tests}) == 3
    model = ExportedModel(tmp_path / "b" / "model.onnx", 12)
    for test in tests:
        assert list(test.source_ids) in SOURCE_IDS and EOS_ID not in test.output_ids
        assert model.translate([test.source_ids]) == [list(test.output_ids)]
        assert test.output == " ".join(map(str, test.output_ids))


def test_the_readme_shows_an_example(trained_subnet: Subnet, tmp_path: Path) -> None:
    manifest = export(trained_subnet, tmp_path / "b")
    text = (tmp_path / "b" / "README.md").read_text()
    assert "pip install numpy onnxruntime sentencepiece" in text
    assert f'echo "{manifest.self_test[0].source}"' in text and manifest.self_test[0].output in text


def test_an_export_replaces_an_older_bundle(trained_subnet: Subnet, tmp_path: Path) -> None:
    export(trained_subnet, tmp_path / "b")
    (tmp_path / "b" / "left over").touch()
    export(trained_subnet, tmp_path / "b", workload=TranslationWorkload(precision="int8"))
    assert {path.name for path in (tmp_path / "b").iterdir()} == NAMES
    assert read_manifest(tmp_path / "b").precision == "int8"
    assert {path.name for path in tmp_path.iterdir()} == {"b", "pieces.model"}


# -- bad input -------------------------------------------------------------------------------------
# --------------------


def test_a_failed_parity_check_leaves_what_was_there(
    trained_subnet: Subnet, tmp_path: Path
) -> None:
    other = Subnet(small_space().largest, small_space(), VOCAB_SIZE)
    with pytest.raises(ExportError, match="differently from torch"):
        export(trained_subnet, tmp_path / "b", reference=other)
    assert [path.name for path in tmp_path.iterdir()] == ["pieces.model"]
    manifest = export(trained_subnet, tmp_path / "b")
    with pytest.raises(ExportError, match="differently from torch"):
        export(trained_subnet, tmp_path / "b", reference=other)
    assert read_manifest(tmp_path / "b") == manifest
    assert {path.name for path in tmp_path.iterdir()} == {"b", "pieces.model"}


def test_a_folder_that_is_no_bundle_is_not_replaced(trained_subnet: Subnet, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").touch()
    with pytest.raises(ExportError, match="is not a bundle"):
        export(trained_subnet, tmp_path / "b")
    assert (tmp_path / "b" / "thesis.tex").exists()


def test_sentences_longer_than_the_limit(trained_subnet: Subnet, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"5 pieces, but export\.max_source_len is 4"):
        export(trained_subnet, tmp_path / "b", config=ExportConfig(max_source_len=4))


def test_no_sentences(trained_subnet: Subnet, tmp_path: Path) -> None:
    empty = ParitySet([], [], lambda sources: sources, str, lambda texts: 0.0)
    with pytest.raises(ExportError, match="no validation sentence"):
        export(trained_subnet, tmp_path / "b", parity_set=empty)


@pytest.mark.parametrize("name", sorted(NAMES - {"manifest.json"}))
@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_a_corrupt_bundle_names_the_file(
    trained_subnet: Subnet, tmp_path: Path, name: str, damage: str
) -> None:
    export(trained_subnet, tmp_path / "b")
    path = tmp_path / "b" / name
    path.write_bytes(path.read_bytes()[:-1])
    if damage == "missing":
        path.unlink()
    with pytest.raises(BundleError, match=f"{name} is missing or is not.*mosdeploy export"):
        read_manifest(tmp_path / "b")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 2}'])
def test_a_corrupt_manifest_names_the_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        read_manifest(tmp_path)


def test_a_manifest_that_names_a_file_elsewhere(trained_subnet: Subnet, tmp_path: Path) -> None:
    export(trained_subnet, tmp_path / "b")
    path = tmp_path / "b" / "manifest.json"
    data = json.loads(path.read_text())
    data["sha256"]["../pieces.model"] = sha256_file(tmp_path / "pieces.model")
    path.write_text(json.dumps(data))
    with pytest.raises(BundleError, match=r"\.\./pieces\.model"):
        read_manifest(tmp_path / "b")
