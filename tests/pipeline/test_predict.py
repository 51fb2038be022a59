"""Lines answered by a bundle on this machine."""

import json
from pathlib import Path

import pytest
from walking import opened

from mosdeploy.errors import BundleError
from mosdeploy.pipeline.bundles import require_bundle
from mosdeploy.pipeline.predict import predict
from mosdeploy.workspace import Workspace


def test_a_bundle_answers_as_its_self_test_says(walked: Path) -> None:
    manifest = json.loads((require_bundle(Workspace(walked)) / "manifest.json").read_text())
    tests = manifest["self_test"]
    answers = opened(walked).predict([test["input"] for test in tests], threads=1)
    assert answers == [test["output"] for test in tests]


def test_a_named_bundle_needs_no_run_folder(walked: Path, tmp_path: Path) -> None:
    bundle = require_bundle(Workspace(walked))
    done = predict(tmp_path, ["one two", ""], bundle=bundle, threads=1)
    assert done.bundle == str(bundle)
    assert [pair.input for pair in done.predictions] == ["one two", ""]
    assert [pair.output for pair in done.predictions] == opened(walked).predict(["one two", ""])


@pytest.mark.parametrize("content", ["[" * 100_000, "1" * 5_000, "{}", '{"family": "x"}'])
def test_a_hostile_manifest_is_a_bundle_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(BundleError):
        predict(tmp_path, ["one"], bundle=tmp_path)
