"""A finalist is exported just as the bundle was that it takes the place of."""

from pathlib import Path

from walking import edit, opened

from mosdeploy.export.bundle import read_manifest
from mosdeploy.pipeline.context import Context
from mosdeploy.pipeline.other_finalists import export_in_place_of, other_finalists
from mosdeploy.pipeline.run import open_run


def test_a_finalist_is_exported_for_the_device_of_the_other_bundle(folder: Path) -> None:
    path = folder / "mosdeploy.toml"
    edit(path, "[export]\n", "[export]\nmax_score_drop = 0.0\n")
    options = {"precision": "int8", "device": "board", "max_score_drop": 100.0}
    replaced = opened(folder).export(**options).manifest
    context = Context(open_run(folder))
    other = other_finalists(context, replaced, deployed_ms=None)[0]
    made = read_manifest(export_in_place_of(context, replaced, other))
    assert made.arch == other.candidate.arch
    assert (made.device, made.max_score_drop) == ("board", 100.0)


def test_what_the_configuration_allows_is_not_written(folder: Path) -> None:
    path = opened(folder).export(precision="int8").path
    assert "max_score_drop" not in (path / "manifest.json").read_text()
