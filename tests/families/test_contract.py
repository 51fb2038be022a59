"""What every family of the package must give, and what naming it may load."""

import dataclasses
import importlib
import inspect
import operator
import pickle
import pkgutil
from pathlib import Path
from typing import Any

import pytest
from command_line import run_python

import mosdeploy.families
from mosdeploy.config import RUN_CONFIGS
from mosdeploy.errors import ConfigError
from mosdeploy.families import load_family
from mosdeploy.family import Family

NAMES = [module.name for module in pkgutil.iter_modules(mosdeploy.families.__path__)]

NAMING = """
import sys
from mosdeploy.families import load_family
load_family({name!r})
heavy = {{"numpy", "onnx", "onnxruntime", "scipy", "sentencepiece", "sklearn", "torch", "tvm"}}
heavy |= {{"sacrebleu"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
works = [name for name in sys.modules if name.startswith("mosdeploy.families.{name}.")]
assert not works, works
"""


def callables(family: Family) -> dict[str, Any]:
    """Every callable of a family by name, those of its formats too; no None."""
    found = {field.name: getattr(family, field.name) for field in dataclasses.fields(Family)}
    del found["name"]
    found |= {f"formats[{name}]": x for name, x in found.pop("formats").items()}
    return {name: x for name, x in found.items() if x is not None}


EVERYTHING = [
    pytest.param(family, name, id=f"{family}-{name}")
    for family in NAMES
    for name in callables(load_family(family))
]


@pytest.mark.parametrize("family", NAMES)
def test_a_family_has_the_name_of_its_folder(family: str) -> None:
    assert load_family(family).name == family


def test_every_family_has_a_run_file() -> None:
    assert set(RUN_CONFIGS) == set(NAMES)
    for name, config in RUN_CONFIGS.items():
        assert config.model_fields["family"].annotation.__args__ == (name,)


@pytest.mark.parametrize(("family", "name"), EVERYTHING)
def test_every_callable_exists(family: str, name: str) -> None:
    package, target = callables(load_family(family))[name].args
    module, _, path = target.partition(":")
    assert package == f"mosdeploy.families.{family}"
    found = operator.attrgetter(path)(importlib.import_module(f".{module}", package))
    assert callable(found)
    assert inspect.getdoc(found)


@pytest.mark.parametrize("family", NAMES)
def test_a_family_goes_to_another_process(family: str) -> None:
    again = pickle.loads(pickle.dumps(load_family(family)))
    assert again.name == family


@pytest.mark.parametrize("family", NAMES)
def test_naming_a_family_loads_none_of_its_works(family: str, tmp_path: Path) -> None:
    done = run_python("-c", NAMING.format(name=family), cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("family", NAMES)
def test_words_of_a_family_load_no_torch(family: str, tmp_path: Path) -> None:
    code = f"""
import sys
import mosdeploy.config.{family}, mosdeploy.spaces.{family}
assert not {{"onnx", "torch", "mosdeploy.families.{family}"}} & set(sys.modules)
"""
    done = run_python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["esperanto", "translation.bundle", "", "../translation"])
def test_an_unknown_family_names_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown family '{name}'; known: .*translation"):
        load_family(name)
