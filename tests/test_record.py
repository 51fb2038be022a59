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


class Section(Record):
    steps: int = 2000
    rate: float = 0.1


class Config(Record):
    device: Name | None = None
    training: Section = Section()
    sections: tuple[Section, ...] = ()


class Rectangle(Record):
    width: int
    height: int

    @cached_property
    def area(self) -> int:
        return self.width * self.height


def _toml(folder: Path, text: str) -> Path:
    path = folder / "mosdeploy.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_record_is_hashable_and_frozen() -> None:
    assert len({Leaf(width=1), Leaf(width=1), Leaf(width=2)}) == 2
    with pytest.raises(ValueError, match="frozen"):
        Leaf(width=1).width = 2  # type: ignore[misc]


def test_json_there_and_back() -> None:
    tree = Tree(name="oak", leaves=(Leaf(width=2, scale=0.5),), spare=Leaf(width=3))
    assert parse(Tree, tree.model_dump(mode="json"), "x") == tree


def test_lists_become_tuples_and_whole_numbers_floats() -> None:
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
            {"name": "oak", "spare": {"width": 1, "scal": 2}},
            "unknown key 'spare.scal'; did you mean 'scale'?",
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
            {"name": "oak", "leaf": {"width": "1"}},
            "'leaf.width': Input should be a valid integer, got '1'",
        ),
        (
            {"name": "oak", "leaf": {"width": True}},
            "'leaf.width': Input should be a valid integer, got True",
        ),
        (
            {"name": "oak", "leaf": {"width": 1.0}},
            "'leaf.width': Input should be a valid integer, got 1.0",
        ),
        (
            {"name": "oak", "leaf": {"width": 1, "scale": float("nan")}},
            "'leaf.scale': Input should be a finite number",
        ),
        ({"name": 7}, "'name': Input should be a valid string, got 7"),
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
    counts: dict[str, int] = Field(default_factory=dict)
    leaves: dict[str, Leaf] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            {"age": "x"},
            "'age': Input should be 'old' or 'young', or should be 'dead', got 'x'",
        ),
        (
            {"names": {}},
            "'names': Input should be a valid string, or should be a valid array, got {}",
        ),
        (
            {"names": None},
            "'names': Input should be a valid string, or should be a valid array, got None",
        ),
        ({"leaves": {"a": {}}}, "missing key 'leaves.a.width'"),
        ({"counts": {"str": "1"}}, "'counts.str': Input should be a valid integer, got '1'"),
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
    with pytest.raises(ConfigError, match="'device'"):
        parse(Config, {"device": name}, "x")


# -- files


def test_toml_reads_with_defaults(tmp_path: Path) -> None:
    path = _toml(tmp_path, "[training]\nsteps = 5\n")
    assert parse(Config, read_toml(path), str(path)) == Config(training=Section(steps=5))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[training]\nstep = 1\n", "unknown key 'training.step'; did you mean 'steps'?"),
        ("[trainig]\n", "unknown key 'trainig'; did you mean 'training'?"),
        (
            '[training]\nsteps = "many"\n',
            "'training.steps': Input should be a valid integer, got 'many'",
        ),
        ("[training]\nrate = nan\n", "'training.rate': Input should be a finite number"),
        ('device = "a/b"\n', "'device': a name holds letters, digits"),
    ],
)
def test_wrong_toml_names_file_and_dotted_key(tmp_path: Path, text: str, expected: str) -> None:
    path = _toml(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        parse(Config, read_toml(path), str(path))
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b'{"width": 1', "not valid JSON"),
        (b'{"width": "\xff"}', "line 1: not UTF-8"),
        (b'{"wdth": 1}', "did you mean 'width'"),
        (b'{"width": 1, "scale": 2.0, "width": 1}', "the key 'width' is there twice"),
    ],
)
def test_wrong_json_names_the_file(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "leaf.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        parse(Leaf, read_json(path), str(path))
    assert str(path) in str(caught.value)


def test_json_of_a_user_is_read(tmp_path: Path) -> None:
    path = tmp_path / "leaf.json"
    path.write_text('{"width": 7}')
    assert parse(Leaf, read_json(path), str(path)) == Leaf(width=7)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_json(tmp_path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mosdeploy\.toml: no such file"):
        read_toml(tmp_path / "mosdeploy.toml")


def test_folder_instead_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_toml(tmp_path)


def test_broken_toml_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not valid TOML: .*line 1"):
        read_toml(_toml(tmp_path, "[training\n"))


def test_toml_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "mosdeploy.toml"
    path.write_bytes(b'\nname = "caf\xe9"\n')
    with pytest.raises(ConfigError, match=r"toml, line 2: not UTF-8; save the file as UTF-8"):
        read_toml(path)


def test_a_key_that_is_there_twice_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a key is there twice: remove one \(at line 3"):
        read_toml(_toml(tmp_path, "[training]\nsteps = 1\nsteps = 2\n"))


@pytest.mark.parametrize(
    "text", ["steps = " + "9" * 5000, "steps = " + "[" * 50_000, 'a = "\ud800']
)
def test_toml_that_was_made_to_be_too_much_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mosdeploy.toml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(ConfigError, match=r"not valid TOML|not UTF-8"):
        read_toml(path)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "", "\x00"])
def test_json_that_was_made_to_be_too_much_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="a line: not valid JSON"):
        parse_json(Record, text, "a line")


@pytest.mark.parametrize("content", [b"{", b"[" * 100_000, b"\xff", b"9" * 5000])
def test_json_that_is_none_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.json(: not valid JSON: |, line 1: not UTF-8)"):
        read_json(path)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_json(tmp_path)


def test_toml_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mosdeploy.toml"
    path.write_bytes(b"\xef\xbb\xbfcolour = 1\n")
    assert read_toml(path) == {"colour": 1}
