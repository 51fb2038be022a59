"""Several bundles, timed by turns and scored on the same examples."""

import shutil
from pathlib import Path

import pytest
from encoder_walking import make_encoder_folder
from walking import damage, edit, opened

from mosdeploy.devices.measure import MeasurementTask
from mosdeploy.errors import BundleError, ConfigError, PredictorError, StaleInputError
from mosdeploy.latency import dataset
from mosdeploy.pipeline import compare


@pytest.fixture
def two(folder: Path) -> Path:
    """A run folder with a bundle of the winner in two precisions."""
    opened(folder).export(precision="int8")
    return folder


def names(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "bundles").iterdir() if path.name[0] != ".")


def test_every_bundle_is_timed_in_rounds_and_scored(two: Path) -> None:
    first, second = names(two)
    found = opened(two).compare([two / "bundles" / first, second])
    assert [bundle.precision for bundle in found.bundles] == ["fp32", "int8"]
    for bundle in found.bundles:
        assert bundle.measurement.total is not None
        assert bundle.measurement.rounds == 3
        assert set(bundle.metrics) == {"BLEU", "chrF"}
    assert found.scored_on.endswith("test examples")
    # the device keeps nothing that a next comparison would take for its own
    assert not list((two / "device").glob("jobs/compare-*/results.jsonl"))
    assert not list((two / "device").glob("jobs/compare-*/candidates"))


@pytest.mark.slow
def test_bundles_of_one_name_are_called_as_they_were_given(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = names(two)
    copied = two / "older" / first
    shutil.copytree(two / "bundles" / first, copied)
    monkeypatch.chdir(two / "bundles" / second)
    found = opened(two).compare([first, copied, "."])
    assert [bundle.name for bundle in found.bundles] == [first, str(copied), second]


def test_a_bundle_is_compared_with_others_alone(two: Path) -> None:
    first, _ = names(two)
    for given in ([first], [first, two / "bundles" / first], []):
        with pytest.raises(ConfigError, match="two different bundles or more"):
            opened(two).compare(given)


def test_bundles_of_other_work_are_not_compared(two: Path) -> None:
    first, second = names(two)
    manifest = two / "bundles" / second / "manifest.json"
    edit(manifest, '"source_len": 6', '"source_len": 7')
    edit(manifest, '"name": "sentence"', '"name": "other"')
    with pytest.raises(
        ConfigError, match=r"do not do the same work: their .* differ in .*source_len \(7 and 6\)"
    ):
        opened(two).compare([first, second])


def test_a_bundle_that_is_damaged_or_missing_is_named(two: Path) -> None:
    first, second = names(two)
    damage(two / "bundles" / second / "model.onnx")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        opened(two).compare([first, second])
    shutil.rmtree(two / "bundles" / second)
    with pytest.raises(StaleInputError, match="does not exist"):
        opened(two).compare([first, second])


def test_bundles_of_tvm_and_of_other_families_are_refused(two: Path) -> None:
    profile = two / "device_profiles" / "local.toml"
    own = profile.read_text()
    profile.write_text(f"emulated = true\n{own}")
    with pytest.raises(PredictorError, match="tell no bundles apart"):
        opened(two).compare(names(two))
    profile.write_text(own)
    first, second = names(two)
    path = two / "bundles" / second / "manifest.json"
    text = path.read_text()
    path.write_text(text.replace('"runtime": "onnxruntime"', '"runtime": "tvm"'))
    with pytest.raises(ConfigError, match="runs on tvm; compare times bundles of ONNX Runtime"):
        opened(two).compare([first, second])
    path.write_text(text.replace('"family": "translation"', '"family": "encoder"', 1))
    with pytest.raises(ConfigError, match="is a bundle of 'encoder'"):
        opened(two).compare([first, second])


@pytest.mark.slow
def test_what_is_timed_otherwise_is_another_job(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = []

    def measure(context: object, device: object, task: MeasurementTask, *_) -> None:
        jobs.append(task.job_id)
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "time_by_turns", measure)
    for old, new in (("", ""), ("", ""), ('"threads": 1', '"threads": 2')):
        for name in names(two):
            path = two / "bundles" / name / "manifest.json"
            path.write_text(path.read_text().replace(old, new))
        with pytest.raises(KeyboardInterrupt):
            opened(two).compare(names(two))
    assert len(jobs) == 3
    assert len(set(jobs)) == 2
    monkeypatch.setattr(dataset, "board_conditions", lambda _: {"ONNX Runtime": "0.1"})
    with pytest.raises(KeyboardInterrupt):
        opened(two).compare(names(two))
    assert len(set(jobs)) == 3


@pytest.mark.slow
def test_taggers_are_scored_by_the_tags_of_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # without test examples, on those that `export` scores them on
    root = make_encoder_folder(tmp_path / "run", "tagging", steps="100", test_fraction="0.0")
    run = opened(root)
    run.train()
    whole = run.export("largest", precision="fp32", weights="teacher")
    trimmed = run.export("largest", precision="int8", weights="teacher", trim_vocabulary=True)
    found = run.compare([whole.path, trimmed.path])
    assert found.scored_on == "16 valid examples"
    for bundle, exported in zip(found.bundles, (whole, trimmed), strict=True):
        assert bundle.metrics["F1"] == exported.manifest.parity.bundle_score > 50
    path = trimmed.path / "manifest.json"
    text = path.read_text()
    data = whole.manifest.provenance["data"]
    path.write_text(text.replace(data, "0" * 64))
    run.compare([whole.path, trimmed.path])
    assert f"{trimmed.path.name} was trained on other data than those here" in caplog.text
    path.write_text(text.replace("-GOOD", "-FINE"))
    with pytest.raises(ConfigError, match=r"made for another task .*its labels is .*FINE.*GOOD"):
        run.compare([whole.path, trimmed.path])
