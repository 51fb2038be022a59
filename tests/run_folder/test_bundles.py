"""The bundles of a run folder."""

import os
import shutil
from pathlib import Path

import pytest
from walking import opened

from mosdeploy.errors import StaleInputError
from mosdeploy.pipeline.predict import predict
from mosdeploy.run_folder.bundles import folder_bytes, newest_bundle, require_bundle
from mosdeploy.run_folder.options import PredictOptions
from mosdeploy.workspace import Workspace


@pytest.mark.slow
def test_the_bundle_that_was_written_last_is_found_in_a_copy_too(folder: Path) -> None:
    files = Workspace(folder)
    result = opened(folder).export("smallest")
    assert newest_bundle(files) == result.path
    (other,) = {x.parent for x in files.bundles_dir.glob("[!.]*/manifest.json")} - {result.path}
    os.utime(other / "manifest.json")  # as a copy may leave it
    assert newest_bundle(files) == result.path
    for text in ("gone", "..", "", "../bundles", "a\0b"):
        files.newest_bundle_path.write_text(text)
        assert newest_bundle(files) == other
    os.utime(result.path / "manifest.json")
    shutil.copytree(result.path, result.path.with_name(".draft"))  # left by a kill
    assert newest_bundle(files) == result.path
    shutil.rmtree(files.bundles_dir)
    assert newest_bundle(files) is None
    with pytest.raises(StaleInputError, match=r"no bundle in .*; run `mosdeploy export` first"):
        require_bundle(files)


@pytest.mark.slow
def test_verbs_take_the_name_of_a_bundle_or_its_folder(folder: Path) -> None:
    run = opened(folder)
    older = require_bundle(Workspace(folder))
    newest = run.export("smallest").path
    assert require_bundle(Workspace(folder)) == newest
    for named in (older.name, older):
        assert require_bundle(Workspace(folder), Path(named)) == older
        options = PredictOptions(Path(named), threads=1)
        done = predict(folder, ["one two"], options)
        assert done.bundle == older
        assert run.predict(["one two"], bundle=named, threads=1) == list(done.outputs)
        assert run.deploy(bundle=named).bundle == older.name


def test_a_bundle_that_is_not_there_is_told_which_are(folder: Path, tmp_path: Path) -> None:
    run = opened(folder)
    (there,) = (path.name for path in (folder / "bundles").glob("[!.]*"))
    file = tmp_path / "file"
    file.touch()
    for named in ("nme", file):
        missing = rf"{named} does not exist as a folder, nor as a bundle in .*holds: {there}$"
        for verb in (run.deploy, lambda bundle: run.predict(["one"], bundle=bundle)):
            with pytest.raises(StaleInputError, match=missing):
                verb(bundle=named)
        with pytest.raises(StaleInputError, match=missing):
            run.compare([there, named])
    with pytest.raises(StaleInputError, match=r"holds: none$"):
        require_bundle(Workspace(tmp_path), Path("nme"))


def test_the_size_of_a_folder_is_that_of_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "b").write_bytes(b"123")
    assert folder_bytes(tmp_path) == 8
