"""What Python programs import: which names there are, what they load, which verbs they have."""

import importlib
import inspect
from pathlib import Path

import altair
import pytest
import typer
from command_line import run_folder, run_python
from synthetic import search_result, timing

import mosdeploy
from mosdeploy.cli.app import VERBS, app
from mosdeploy.errors import ConfigError
from mosdeploy.records import Measurement
from mosdeploy.run_folder.context import SilentProgress
from mosdeploy.run_folder.summaries import ComparedBundle, Comparison

HEAVY = """
import sys
import mosdeploy
heavy = {"altair", "jinja2", "numpy", "onnx", "onnxruntime", "paramiko", "pydantic", "scipy"}
heavy |= {"rich.table", "sklearn", "torch", "vl_convert"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert mosdeploy.__version__
assert set(mosdeploy.__all__) <= set(dir(mosdeploy))
try:
    mosdeploy.Supernet
except AttributeError as error:
    print(error)
mosdeploy.ConfigError
import mosdeploy.cli.app
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""

NOT_METHODS = {
    "init": "a function of the package: there is no folder to open yet",
    "demo": "makes a folder of its own and calls the methods",
    "devices": "about devices, not about a run; profiles are read by `load_profile`",
}


# -- the package


def test_public_names_are_sorted_and_importable() -> None:
    assert mosdeploy.__all__ == sorted(mosdeploy.__all__)
    assert len(set(mosdeploy.__all__)) == len(mosdeploy.__all__)
    for name in mosdeploy.__all__:
        assert getattr(mosdeploy, name).__doc__, name


def test_every_public_name_has_one_home() -> None:
    homes = [name for names in mosdeploy._HOMES.values() for name in names]
    assert sorted(homes) == mosdeploy.__all__
    for module, names in mosdeploy._HOMES.items():
        home = importlib.import_module(f"mosdeploy.{module}")
        assert all(getattr(mosdeploy, name) is getattr(home, name) for name in names)


def test_importing_the_package_and_its_commands_is_light(tmp_path: Path) -> None:
    done = run_python("-c", HEAVY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "module 'mosdeploy' has no attribute 'Supernet'\n"


def test_every_error_of_the_package_is_public() -> None:
    from mosdeploy import errors

    own = {name for name, x in vars(errors).items() if inspect.isclass(x)}
    ends = {name for name in own if name in mosdeploy.__all__}
    for name in own - ends:  # a kind of one that is
        bases = {base.__name__ for base in getattr(errors, name).__mro__[1:]}
        assert bases & (ends - {"MosdeployError"}), name


# -- a run folder


def test_every_verb_is_a_method() -> None:
    verbs = set(typer.main.get_command(app).commands)
    methods = {name for name in vars(mosdeploy.RunFolder) if not name.startswith("_")}
    assert verbs - methods == set(NOT_METHODS)
    assert methods - verbs == {"root", "config", "predictor", "export_format", "answer"}


@pytest.mark.parametrize("verb", [x for x in VERBS if x.__name__ not in NOT_METHODS])
def test_every_method_is_documented(verb: object) -> None:
    method = getattr(mosdeploy.RunFolder, verb.__name__)  # type: ignore[attr-defined]
    assert method.__doc__


def test_init_opens_what_open_run_opens(tmp_path: Path) -> None:
    run = mosdeploy.init(tmp_path / "run", device="local")
    again = mosdeploy.open_run(str(tmp_path / "run"))
    assert run.root == again.root == tmp_path / "run"
    assert run.config == again.config
    assert run.config.device == "local"
    with pytest.raises(ConfigError, match="exists already"):
        mosdeploy.init(tmp_path / "run")
    with pytest.raises(ConfigError, match="run `mosdeploy init` there"):
        mosdeploy.open_run(tmp_path)


@pytest.mark.parametrize("settings", [{"workload.beem": 4}, {"workload.beam": 0}])
def test_a_wrong_setting_writes_nothing(tmp_path: Path, settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'beam'|'workload\.beam': .* got 0"):
        mosdeploy.init(tmp_path, settings=settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [{"time": "2h"}, {"valid": "data/valid.tsv"}])
def test_what_is_about_data_needs_data(tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="is about your data: give train too"):
        mosdeploy.init(tmp_path, **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_beside_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"recipe 'tiny' and train: .* give one"):
        mosdeploy.init(tmp_path, "tiny", train=["a.en", "a.de"])
    with pytest.raises(TypeError, match=r"init\(\) got .* 'recipie'"):
        mosdeploy.init(tmp_path, recipie="tiny")
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_shows_what_it_holds(tmp_path: Path) -> None:
    run = mosdeploy.open_run(run_folder(tmp_path))
    assert repr(run) == f"RunFolder({str(tmp_path)!r})"
    html = run._repr_html_()
    assert "supernet" in html
    assert "mosdeploy train" in html


def test_progress_and_ssh_config_reach_the_verbs(tmp_path: Path) -> None:
    progress = SilentProgress()
    run = mosdeploy.open_run(run_folder(tmp_path), progress=progress, ssh_config="my-config")
    assert run._context.progress is progress
    assert run._context.ssh_config == Path("my-config")


@pytest.mark.parametrize(
    ("verb", "options", "error", "part"),
    [
        ("profile", {"device": "rpy"}, mosdeploy.ConfigError, "did you mean 'rpi'"),
        ("search", {"max_latency": "150"}, mosdeploy.ConfigError, "not a duration"),
        ("export", {}, mosdeploy.StaleInputError, "mosdeploy train"),
        ("verify", {}, mosdeploy.StaleInputError, "nothing was deployed"),
        ("verify", {"max_latency": "9"}, mosdeploy.ConfigError, "not a duration"),
        ("predict", {"lines": ["x"], "bundle": "gone"}, mosdeploy.StaleInputError, "gone does not"),
        ("report", {}, mosdeploy.StaleInputError, "mosdeploy train"),
    ],
)
def test_verbs_raise_what_the_command_line_ends_with(
    tmp_path: Path, verb: str, options: dict[str, object], error: type[Exception], part: str
) -> None:
    run = mosdeploy.open_run(run_folder(tmp_path))
    with pytest.raises(error, match=part):
        getattr(run, verb)(**options)


# -- its charts


@pytest.mark.parametrize(
    ("axis", "title"), [("latency", "latency on rpi, ms"), ("size", "size, MiB")]
)
def test_front_chart_is_an_altair_chart(axis: str, title: str) -> None:
    chart = mosdeploy.front_chart(search_result(), axis)  # type: ignore[arg-type]
    assert isinstance(chart, altair.LayerChart)
    spec = chart.to_dict()  # which Altair checks against the schema
    assert {layer["encoding"]["x"]["title"] for layer in spec["layer"]} == {title}


def test_front_chart_names_the_axes_that_there_are() -> None:
    search = search_result()
    untimed = {"predicted_ms": None, "measured_ms": None}
    found = {
        name: tuple(x.model_copy(update=untimed) for x in getattr(search, name))
        for name in ("front", "finalists")
    }
    winner = search.winner.model_copy(update=untimed)
    search = search.model_copy(update={"winner": winner, **found})
    with pytest.raises(ConfigError, match="no axis 'latency'; it has parameters, size, memory"):
        mosdeploy.front_chart(search)


def test_compare_chart_has_a_labelled_point_and_a_bar_for_each_bundle() -> None:
    first = ComparedBundle(
        name="large",
        precision="fp32",
        arch=search_result().winner.arch,
        weights="finetuned",
        num_parameters=1000,
        size_bytes=5_000_000,
        measurement=Measurement(total=timing(20.0)),
        metrics={"BLEU": 30.0, "chrF": 50.0},
    )
    second = first.model_copy(
        update={"name": "small", "measurement": Measurement(total=timing(5.0))}
    )
    comparison = Comparison(device="rpi", scored_on="9 test examples", bundles=(first, second))
    spec = mosdeploy.compare_chart(comparison).to_dict()  # which Altair checks against the schema
    rows = spec["datasets"]["bundles"]
    assert [(x["bundle"], x["median"], x["value"]) for x in rows] == [
        ("large", 20.0, 30.0),
        ("small", 5.0, 30.0),
    ]
    assert all(x["minimum"] < x["median"] < x["p90"] for x in rows)
    assert [x["mark"]["type"] for x in spec["layer"]] == ["rule", "point", "text"]
    axes = {tuple(x["encoding"][axis]["title"] for axis in "xy") for x in spec["layer"]}
    assert axes == {("latency on rpi, ms: minimum, median, p90", "BLEU, 9 test examples")}


# -- its predictor


def test_predictor_in_the_folder_comes_before_the_shipped_one(tmp_path: Path) -> None:
    run = mosdeploy.init(tmp_path, recipe="wmt14.en-de", device="rpi")
    card = run.predictor().card.model_copy(update={"source": "this folder"})
    own = run.predictor().model_copy(update={"card": card})
    own.save(tmp_path / "predictors" / "rpi-wmt14-ende" / "predictor.json")
    assert run.predictor().card.source == "this folder"
