from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from mosdeploy.errors import ConfigError
from mosdeploy.record import (
    Name,
    Record,
    parse,
    parse_json,
    read_json,
    read_toml,
)


class Leaf(Record):
    width: int
    scale: float = 1.0


class Tree(Record):
    name: str
    leaf: Leaf = Leaf(width=1)
    leaves: tuple[Leaf, ...] = ()
    spare: Leaf | None = None


class Config(Record):
    device: Name | None = None


class Rectangle(Record):
    width: int
    height: int

    @cached_property
    def area(self) -> int:
        return self.width * self.height


def test_record_is_hashable_and_frozen() -> None:
    assert len({Leaf(width=1), Leaf(width=1), Leaf(width=2)}) == 2
    with pytest.raises(ValueError, match="frozen"):
        Leaf(width=1).width = 2  # type: ignore[misc]


def test_json_there_and_back() -> None:
    tree = Tree(name="oak", leaves=(Leaf(width=2, scale=0.5),), spare=Leaf(width=3))
    assert parse(Tree, tree.model_dump(mode="json"), "x") == tree
    tree = parse(Tree, {"name": "oak", "leaves": [{"width": 2, "scale": 3}]}, "x")
    assert tree.leaves == (Leaf(width=2, scale=3.0),)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"name": "oak", "leef": {}}, "unknown key 'leef'; did you mean 'leaf'?"),
        (
            {"name": "oak", "leaf": {"width": 1, "scal": 2}},
            "unknown key 'leaf.scal'; did you mean 'scale'?",
        ),
        (
            {"name": "oak", "leaves": [{"width": 1, "wdth": 2}]},
            "unknown key 'leaves.0.wdth'; did you mean 'width'?",
        ),
        (
            {"name": "oak", "leaf": {"width": 1, "zz": 2}},
            "unknown key 'leaf.zz'; known keys: scale, width",
        ),
        (
            {"name": "oak", "scale": 2},
            "unknown key 'scale'; did you mean 'leaf.scale' or 'leaves.scale' or 'spare.scale'?",
        ),
        ({}, "missing key 'name'"),
        (
            {"name": "oak", "leaf": {"width": True}},
            "'leaf.width': Input should be a valid integer, got True",
        ),
        (
            {"name": "oak", "leaf": {"width": 1, "scale": float("nan")}},
            "'leaf.scale': Input should be a finite number",
        ),
        ([], "(top level)"),
    ],
)
def test_message_names_source_and_dotted_key(data: object, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Tree, data, "tree.toml")
    assert str(caught.value).startswith("tree.toml: ")
    assert expected in str(caught.value)


class Choice(Record):
    age: Literal["old", "young"] | Literal["dead"] | None = None
    names: str | tuple[str, str] = "oak"
    leaves: dict[str, Leaf] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            {"age": "x"},
            "'age': Input should be 'old' or 'young', or should be 'dead', got 'x'",
        ),
        (
            {"names": None},
            "'names': Input should be a valid string, or should be a valid array, got None",
        ),
        ({"leaves": {"a": {}}}, "missing key 'leaves.a.width'"),
    ],
)
def test_a_union_is_told_once_by_its_key(data: object, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Choice, data, "x.toml")
    assert str(caught.value) == f"x.toml: {expected}"


def test_message_holds_every_problem_and_stays_short() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Tree, {"leaf": {"width": "x" * 10_000}, "colour": 1}, "tree.toml")
    message = str(caught.value)
    assert "missing key 'name'" in message
    assert "'leaf.width'" in message
    assert "unknown key 'colour'" in message
    assert len(message) < 500


def test_a_copy_computes_anew() -> None:
    small = Rectangle(width=2, height=3)
    assert small.area == 6
    assert small.model_copy(update={"width": 4}).area == 12
    assert small.area == 6


@pytest.mark.parametrize("name", ["rpi", "jetson-nano", "pi.local", "8gb_board", "a" * 64])
def test_names(name: str) -> None:
    assert parse(Config, {"device": name}, "x").device == name


@pytest.mark.parametrize("name", ["", "a/b", "-x", "a--b", "a-", "ä", ".", "a b", "a" * 65])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ConfigError, match=r"'device': (a name holds|.* at most 64)"):
        parse(Config, {"device": name}, "x")


# -- files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"mosdeploy\.toml: no such file"),
        (b"[training\n", "not valid TOML: .*line 1"),
        (b'\nname = "caf\xe9"\n', "toml, line 2: not UTF-8; save the file as UTF-8"),
        (b"[training]\nsteps = 1\nsteps = 2\n", "a key is there twice: remove one .at line 3"),
        (b"steps = " + b"9" * 5000, "not valid TOML"),
        (b"steps = " + b"[" * 50_000, "not valid TOML"),
    ],
)
def test_wrong_toml_names_file_and_line(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "mosdeploy.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_toml(path)


@pytest.mark.parametrize("read", [read_toml, read_json])
def test_a_folder_instead_of_a_file(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b'{"width": 1', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"9" * 5000, "not valid JSON"),
        (b'{"width": "\xff"}', "line 1: not UTF-8"),
        (b'{"width": 1, "scale": 2.0, "width": 1}', "the key 'width' is there twice"),
    ],
)
def test_wrong_json_names_the_file(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "leaf.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"leaf\.json.*{message}"):
        read_json(path)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "", "\x00"])
def test_a_line_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="a line: not valid JSON"):
        parse_json(Record, text, "a line")


def test_toml_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mosdeploy.toml"
    path.write_bytes(b"\xef\xbb\xbfcolour = 1\n")
    assert read_toml(path) == {"colour": 1}
