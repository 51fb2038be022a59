"""What programs give to the verbs is what Python would take it for, or is refused."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

import mosdeploy
from mosdeploy.api.arguments import checked
from mosdeploy.errors import ConfigError
from mosdeploy.run_folder import options
from mosdeploy.run_folder.options import Pick


@checked
def verb(
    picks: Pick | Sequence[Pick] | None = None,
    *,
    lines: Sequence[str] = (),
    budget: int | None = None,
    share: float | None = None,
    runtime: Literal["onnxruntime", "tvm", "auto"] = "auto",
    time: str | None = None,
    renew: bool = False,
    **options: Any,
) -> object:
    return {x: y for x, y in locals().items() if y not in (None, (), "auto", {}, False)}


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({}, {}),
        ({"picks": "winner"}, {"picks": "winner"}),
        ({"picks": ["winner", 3]}, {"picks": ["winner", 3]}),
        ({"budget": 12e6, "share": 2}, {"budget": 12_000_000, "share": 2.0}),
        ({"budget": np.int64(12), "runtime": "tvm"}, {"budget": 12, "runtime": "tvm"}),
        ({"time": 30, "beam": [1]}, {"time": 30, "options": {"beam": [1]}}),
    ],
)
def test_what_is_natural_is_taken(given: dict[str, Any], taken: dict[str, Any]) -> None:
    assert verb(**given) == taken


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"picks": 2.5}, "picks: 2.5: Input should be a valid string or .*integer"),
        ({"lines": "eins"}, r"lines: 'eins' is one text, not a list of them; write \['eins'\]"),
        ({"lines": "x" * 999}, r"one text, .* write \['x+\.\.\.x+'\]"),
        ({"lines": [1]}, "lines: 1: Input should be a valid string"),
        ({"budget": 0.5}, "budget: 0.5: Input should be a valid integer"),
        ({"budget": float("inf")}, "budget: inf: Input should be a finite number"),
        ({"share": "2%"}, "share: '2%': Input should be a valid number"),
        ({"budget": "10"}, "budget: '10': Input should be a valid integer"),
        ({"picks": True}, "picks: True: Input should be a valid string or a valid integer"),
        ({"renew": "no"}, "renew: 'no': Input should be a valid boolean"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        verb(**given)


def test_python_names_an_argument_that_there_is_not() -> None:
    with pytest.raises(TypeError, match=r"status\(\) got an unexpected keyword argument 'beam'"):
        mosdeploy.RunFolder.status(beam=3)  # type: ignore[call-arg]


def test_every_list_of_texts_of_the_interface_is_checked(tmp_path: Path) -> None:
    """Whichever method takes one: a text is taken for one of them, or refused."""
    run = mosdeploy.init(tmp_path)
    lists = {
        (name, parameter.name)
        for name, method in inspect.getmembers(mosdeploy.RunFolder, inspect.isfunction)
        for parameter in inspect.signature(method).parameters.values()
        if "Sequence" in str(parameter.annotation) and not name.startswith("_")
    }
    assert lists == {
        ("answer", "lines"),
        ("compare", "bundles"),
        ("evaluate", "picks"),
        ("predict", "lines"),
        ("profile", "hosts"),
    }
    for method, name in (("answer", "lines"), ("compare", "bundles"), ("predict", "lines")):
        with pytest.raises(ConfigError, match=f"{name}: 'abc' is one text, not a list of them"):
            getattr(run, method)("abc")
    with pytest.raises(ConfigError, match="train is empty; give your data"):
        mosdeploy.init(tmp_path / "new", train=[])
    with pytest.raises(ConfigError, match=r"progress: .*print.*: Input should be an instance of"):
        mosdeploy.open_run(tmp_path, progress=print)  # type: ignore[arg-type]
    given = {"valid": tmp_path / "v.tsv", "checkpoint": tmp_path / "bert", "num_winners": 1}
    with pytest.raises(ConfigError, match=r"bert"):
        mosdeploy.init(tmp_path / "new", train=tmp_path / "pairs.csv", **given)
    with pytest.raises(ConfigError, match=r"num_winners: 'two': Input should be a valid integer"):
        mosdeploy.init(tmp_path / "new", train="a.tsv", num_winners="two")  # type: ignore[arg-type]
    for languages in ("en", 5, ("en",)):
        with pytest.raises(ConfigError, match=r"source and target, .* not ('en'|5|\('en',\))"):
            mosdeploy.init(tmp_path / "new", train=["a.en", "a.de"], languages=languages)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verb", "given", "field", "taken"),
    [
        ("evaluate", {"picks": [1, "winner"]}, "names", ("1", "winner")),
        ("evaluate", {"picks": "winner"}, "names", ("winner",)),
        ("profile", {"hosts": "pi1, pi2"}, "hosts", ("pi1", "pi2")),
        ("search", {"max_latency": "9ms", "max_parameters": 12}, "max_parameters", 12),
        ("export", {"pick": Path("arch.json")}, "pick", Path("arch.json")),
    ],
)
def test_arguments_of_a_method_make_the_record_of_its_verb(
    verb: str, given: dict[str, Any], field: str, taken: object
) -> None:
    record = getattr(options, f"{verb.title()}Options")
    assert getattr(checked(record)(**given), field) == taken
    assert list(inspect.signature(getattr(mosdeploy.RunFolder, verb)).parameters) == list(
        inspect.signature(record).parameters
    )
