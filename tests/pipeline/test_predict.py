"""Lines answered by a bundle on this machine."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoder_bundles import export_encoder
from walking import KeptProgress, opened

from mosdeploy.errors import BundleError, ConfigError
from mosdeploy.pipeline.chunked import CHUNK
from mosdeploy.pipeline.predict import check_vectors, predict
from mosdeploy.run_folder.bundles import require_bundle
from mosdeploy.run_folder.options import PredictOptions
from mosdeploy.workspace import Workspace


def test_a_bundle_answers_as_its_self_test_says(walked: Path) -> None:
    manifest = json.loads((require_bundle(Workspace(walked)) / "manifest.json").read_text())
    tests = manifest["self_test"]
    answers = opened(walked).predict([test["input"] for test in tests], threads=1)
    assert answers == [test["output"] for test in tests]


def test_an_array_is_a_list_of_texts_as_to_the_runtime(walked: Path) -> None:
    run = opened(walked)
    array: Any = np.array(["eins", "zwei"])
    assert run.predict(array) == run.predict(["eins", "zwei"])
    assert run.predict(lines=array[:0]) == []


def test_a_named_bundle_needs_no_run_folder(walked: Path, tmp_path: Path) -> None:
    bundle = require_bundle(Workspace(walked))
    done = predict(tmp_path, ["one two", ""], PredictOptions(str(bundle), threads=1))
    assert done.record.bundle == str(bundle)
    assert [x["input"] for x in done.record.predictions] == ["one two", ""]
    assert [x["output"] for x in done.record.predictions] == done.outputs
    assert done.outputs == opened(walked).predict(["one two", ""])
    # twelve steps of training end no sentence
    answer = {"output": done.outputs[0], "is_unfinished": True}
    assert opened(walked).answer(["one two"]) == [answer]


def test_many_lines_are_answered_in_parts(walked: Path) -> None:
    lines = [" ".join(["one", "two", "three"][: i % 4]) for i in range(2 * CHUNK + 1)]
    progress = KeptProgress()
    done = predict(walked, lines, PredictOptions(threads=1), progress)
    alone = {
        line: predict(walked, [line], PredictOptions(threads=1)).outputs[0] for line in lines[:4]
    }
    assert done.outputs == [alone[line] for line in lines]
    assert progress.updates == [("predict", "")] * 2


def test_an_encoder_says_all_that_it_knows(encoder_folder: Path) -> None:
    run = opened(encoder_folder)
    run.export("largest")
    lines = ["the film is bright", "", "it " * 50]
    bright, empty, long = run.answer(lines)
    assert bright["label"] == run.predict(lines)[0]
    assert sum(bright["scores"].values()) == pytest.approx(1.0, abs=1e-5)
    assert empty == {}
    done = predict(encoder_folder, lines)
    assert long["is_cut"] and str(done.notes).startswith("1 of ")
    assert run.answer(lines, long="window")[2]["num_windows"] == 3  # 50 words, 22 of them in each
    assert run.predict(lines, long="window")[:2] == run.predict(lines)[:2]
    timing = done.timing
    assert timing.num_lines == 3
    assert 0 < timing.tokenising_s + timing.running_s <= timing.total_s


def test_no_lines_have_no_vectors_of_the_usual_width(tmp_path: Path) -> None:
    bundle = export_encoder(tmp_path, "embedding")
    shapes = []
    for lines in (["the cat"], []):
        written = predict(tmp_path, lines, PredictOptions(str(bundle))).write_vectors(
            tmp_path / "v.npy"
        )
        assert written.shape == np.load(tmp_path / "v.npy").shape
        shapes.append(written.shape)
    assert shapes[1] == (0, *shapes[0][1:])


def test_what_has_no_vector_is_told_before_anything_is_answered(tmp_path: Path) -> None:
    folders = (tmp_path / "vectors", tmp_path / "classes")
    for folder in folders:
        folder.mkdir()
    bundle = export_encoder(folders[0], "embedding")
    path = tmp_path / "v.npy"
    check_vectors(tmp_path, bundle, ["the cat"], path)
    with pytest.raises(ConfigError, match=r"ends in \.npy"):
        check_vectors(tmp_path, bundle, ["the cat"], tmp_path / "v.txt")
    with pytest.raises(ConfigError, match="line 2 is empty, and has no vector"):
        check_vectors(tmp_path, bundle, ["the cat", " "], path)
    other = export_encoder(folders[1], "classification")
    with pytest.raises(ConfigError, match="gives no vectors; --output is for the bundles of"):
        check_vectors(tmp_path, other, [], path)


def test_two_long_texts_name_their_line(tmp_path: Path) -> None:
    bundle = export_encoder(tmp_path, "classification")
    lines = ["the cat", "the cat\ta house", "the cat\t" + "a house " * 9]
    with pytest.raises(ConfigError, match=r"^line 3: 'the cat\\ta house .* holds two texts"):
        predict(tmp_path, lines, PredictOptions(str(bundle), long="window"))


def test_threads_are_a_positive_number(tmp_path: Path) -> None:
    bundle = export_encoder(tmp_path, "classification")
    with pytest.raises(ConfigError, match=r"threads is a whole number from 1 to 256.* not -1"):
        predict(tmp_path, ["the cat"], PredictOptions(str(bundle), threads=-1))


def test_a_translation_has_no_windows(walked: Path) -> None:
    with pytest.raises(ConfigError, match="windows are for encoders"):
        opened(walked).predict(["one two"], long="window")


@pytest.mark.parametrize("content", ["[" * 100_000, "1" * 5_000, "{}", '{"family": "x"}'])
def test_a_hostile_manifest_is_a_bundle_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(BundleError):
        predict(tmp_path, ["one"], PredictOptions(str(tmp_path)))
