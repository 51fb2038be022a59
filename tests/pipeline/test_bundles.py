"""The bundles of a run folder."""

import os
import shutil
from pathlib import Path

import pytest
from walking import opened

from mosdeploy.errors import StaleInputError
from mosdeploy.pipeline.bundles import folder_bytes, newest_bundle, require_bundle
from mosdeploy.workspace import Workspace


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


def test_the_size_of_a_folder_is_that_of_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "b").write_bytes(b"123")
    assert folder_bytes(tmp_path) == 8
