"""Bundles: what is in them, what they promise, and when none is written."""

import json
from pathlib import Path

import numpy as np
import pytest
from walking import KeptProgress, opened

from mosdeploy.errors import ConfigError, ExportError
from mosdeploy.export.bundle import read_manifest
from mosdeploy.families.encoder import formats
from mosdeploy.families.translation import scoring
from mosdeploy.family import FormatJob
from mosdeploy.pipeline.export import export_format
from mosdeploy.pipeline.exporting.export_job import ExportOptions
from mosdeploy.run_folder.bundles import folder_bytes, limited_bytes, newest_bundle
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import trained_run
from mosdeploy.storage import sha256_file, write_record
from mosdeploy.workspace import Workspace


def test_the_manifest_says_what_the_bundle_was_made_from(walked: Path) -> None:
    files = Workspace(walked)
    bundle = newest_bundle(files)
    assert bundle is not None
    manifest = read_manifest(bundle)
    assert (manifest.family, manifest.runtime, manifest.device) == (
        "translation",
        "onnxruntime",
        "local",
    )
    assert manifest.parity.metric == "BLEU"
    assert manifest.parity.identical == manifest.parity.num_examples > 0
    assert manifest.provenance["supernet"] == sha256_file(files.supernet_path)
    assert manifest.provenance["tokenizer"] == sha256_file(files.tokenizer_path)
    assert manifest.provenance["search"] == sha256_file(files.search_result_path)
    assert set(manifest.provenance) == {
        "data",
        "predictor",
        "search",
        "space",
        "supernet",
        "tokenizer",
    }


def test_numbers_out_of_bounds_are_refused_before_any_work(folder: Path) -> None:
    run = opened(folder)
    with pytest.raises(ConfigError, match="budget is 0; it must be 4 to 1000 subnets"):
        run.profile("local", budget=0)
    with pytest.raises(ConfigError, match=r"max_score_drop.* got -1"):
        run.export("largest", max_score_drop=-1)
    with pytest.raises(ConfigError, match="trim_vocabulary: 'perhaps'"):
        run.export("largest", trim_vocabulary="perhaps")  # type: ignore[arg-type]


def test_bundles_of_other_workloads_stand_beside_one_another(folder: Path) -> None:
    run = opened(folder)
    result = run.export("largest", precision="int8", beam=2)
    assert (result.manifest.precision, result.manifest.settings["beam"]) == ("int8", 2)
    assert result.path.name.endswith("int8-beam2")
    assert result.size_bytes == folder_bytes(result.path)
    other = run.export("largest", workload={"source_len": 5, "threads": 2}).path
    assert other.name.endswith("-fp32-beam1-threads2-source-len5")
    assert result.path.exists()


def test_what_was_not_searched_for_is_for_the_device_of_the_search(folder: Path) -> None:
    text = (folder / "mosdeploy.toml").read_text()
    (folder / "mosdeploy.toml").write_text(text.replace('device = "local"\n', ""))
    path = folder / "search" / "result.json"
    path.write_text(path.read_text().replace('"device": "local"', '"device": "rpi"'))
    manifest = opened(folder).export("largest").manifest
    assert (manifest.device, manifest.limits) == ("rpi", None)


@pytest.mark.slow
def test_what_was_not_searched_for_is_promised_nothing(folder: Path) -> None:
    run = opened(folder)
    path = folder / "arch.json"
    space = run.config.space
    known = {x.arch.key for x in trained_run(open_run(folder)).search_result().deliverable}
    rng = np.random.default_rng(1)
    archs = (space.sample(rng) for _ in range(100))
    path.write_text(next(x.model_dump_json() for x in archs if x.key not in known))
    result = run.export(str(path))
    assert "search" not in result.manifest.provenance
    assert "predictor" not in result.manifest.provenance
    assert run.deploy(bundle=result.path).limit_ms is None


def test_a_bundle_is_for_the_device_that_it_was_exported_for(folder: Path) -> None:
    run = opened(folder)
    assert run.export("largest", device="rpi").manifest.device == "rpi"
    assert run.export("largest", precision="int8").manifest.device == "local"
    with pytest.raises(ConfigError, match="unknown device 'rbi'; did you mean 'rpi'"):
        run.export("largest", device="rbi")


def test_a_bundle_above_its_limit_on_size_is_told(folder: Path) -> None:
    progress = KeptProgress()
    run = opened(folder, progress)
    found = run.search(max_parameters=10**9, verify=False)
    exported = run.export()
    # model and tokenizer; what is left is what people read, and the self-tests
    assert 0 < exported.size_bytes - found.winner.size_bytes < 30_000
    path = Workspace(folder).search_result_path
    taken = limited_bytes(exported.path)
    for told, most in enumerate((taken, taken - 1)):
        tight = found.limits.model_copy(update={"max_size_bytes": most})
        write_record(path, found.model_copy(update={"limits": tight}))
        run.export()
        again = "search again with a lower --max-size"
        assert len([said for said in progress.messages if again in said]) == told


def test_inherited_weights_are_said_to_be_inherited(folder: Path) -> None:
    progress = KeptProgress()
    run = opened(folder, progress)

    def hints() -> list[str]:
        return [said for said in progress.messages if "mosdeploy finetune" in said]

    run.export("1", weights="inherited")
    assert not hints()
    run.export("1")
    assert ["`mosdeploy finetune --pick 1`" in said for said in hints()] == [True]
    choices = run.report().report.choices
    assert choices[0].finetune_command == "mosdeploy finetune --pick 1"
    run.finetune("1", steps=1)
    run.export("1")
    assert len(hints()) == 1
    assert run.report().report.choices[0].finetune_command is None


def test_a_bundle_that_loses_quality_is_not_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted((folder / "bundles").glob("*/"))
    monkeypatch.setattr(
        scoring, "translate", lambda subnet, sources, *_, **__: [[4, 5, 6] for _ in sources]
    )
    with pytest.raises(ExportError, match="differently"):
        opened(folder).export("smallest")
    assert sorted((folder / "bundles").glob("*/")) == before


def test_a_shortlist_is_exported_if_it_costs_little(folder: Path) -> None:
    run = opened(folder)
    result = run.export("smallest", workload={"shortlist": 40})
    assert result.path.name.endswith("fp32-beam1-shortlist40")
    parity = result.manifest.parity
    assert parity.identical == parity.num_examples > 0
    assert parity.exact_score is not None
    assert parity.exact_score - parity.torch_score <= 0.1
    assert read_manifest(result.path).workload == result.manifest.workload
    with pytest.raises(ExportError, match="use --shortlist 0, or --runtime onnxruntime"):
        run.export("smallest", workload={"shortlist": 40}, runtime="tvm")


def test_a_shortlist_that_costs_too_much_is_not_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted((folder / "bundles").glob("*/"))

    def perfect_without(subnet, sources, *_, shortlist=None):
        return [[4]] * len(sources) if shortlist else [[5, 6, 7, 8]] * len(sources)

    def count(outputs, references, words):
        return {"BLEU": float(sum(map(len, outputs)))}

    monkeypatch.setattr(scoring, "translate", perfect_without)
    monkeypatch.setattr(scoring, "bleu_chrf", count)
    with pytest.raises(ExportError, match=r"a shortlist of 7 costs .* at most 0\.1 is allowed"):
        opened(folder).export("smallest", precision="int8", workload={"shortlist": 7})
    assert sorted((folder / "bundles").glob("*/")) == before


# -- formats of other libraries


@pytest.mark.slow
def test_a_format_holds_what_the_bundle_holds(encoder_folder: Path) -> None:
    run = opened(encoder_folder)
    bundle = run.export("largest", precision="fp32", trim_vocabulary=True)
    written = run.export_format("optimum", "largest", precision="fp32", trim_vocabulary=True)
    folder = Path(written.path)
    assert folder == encoder_folder / "formats" / f"{bundle.path.name}-optimum"
    assert (folder / "tokenizer.json").read_text() == (bundle.path / "tokenizer.json").read_text()
    assert written.num_parameters == bundle.manifest.num_parameters
    assert written.vocab_size == json.loads((folder / "config.json").read_text())["vocab_size"]
    assert written.size_bytes == sum(path.stat().st_size for path in folder.iterdir())
    assert run.export_format("optimum", "largest", precision="int8").precision == "int8"


@pytest.mark.parametrize("trims", [True, False])
def test_a_format_refuses_a_tokenizer_that_was_written_meanwhile(
    encoder_folder: Path, monkeypatch: pytest.MonkeyPatch, trims: bool
) -> None:
    files = Workspace(encoder_folder)
    path = files.trimmed_tokenizer_path if trims else files.tokenizer_path
    write = formats.write_optimum

    def written_over(job: FormatJob, out_dir: Path) -> None:
        path.write_text(path.read_text() + "\n")
        write(job, out_dir)

    monkeypatch.setattr(formats, "write_optimum", written_over)
    with pytest.raises(ExportError, match="is not the tokenizer that the network was trained"):
        opened(encoder_folder).export_format("optimum", "largest", trim_vocabulary=trims)
    assert not list(files.formats_dir.glob("[!.]*"))


@pytest.mark.slow
def test_a_bert_is_loaded_by_transformers(encoder_folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    run = opened(encoder_folder)
    # the smallest attends 8 wide, as a BERT does not; the largest 16 wide, as it does
    with pytest.raises(ExportError, match="no BERT can hold"):
        run.export_format("hf", "smallest")
    with pytest.raises(ExportError, match="fp32, not int8; add --precision fp32"):
        run.export_format("hf", "largest", precision="int8")
    folder = run.export_format("hf", "largest").path
    bundle = run.export("largest", precision="fp32")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    lines = ["the film is bright", "it was dull and long"]
    logits = model(**tokenizer(lines, padding=True, return_tensors="pt")).logits
    labels = [model.config.id2label[int(i)] for i in logits.argmax(-1)]
    assert labels == run.predict(lines, bundle=bundle.path)


def test_a_format_that_there_is_not(walked: Path, trained_encoder: Path) -> None:
    with pytest.raises(ConfigError, match="about bundles"):
        export_format(
            Context(open_run(trained_encoder)), ExportOptions(format="hf", max_score_drop=1.0)
        )
    with pytest.raises(ConfigError, match="'translation' has no format 'hf'; its formats: none"):
        opened(walked).export_format("hf", "largest")
    with pytest.raises(ConfigError, match=r"'encoder' has no format 'tf'; .*: optimum, hf"):
        opened(trained_encoder).export_format("tf", "largest")
