from pathlib import Path

import pytest

from mosdeploy.config.translation import RunConfig
from mosdeploy.errors import ConfigError
from mosdeploy.record import Record, load_toml, parse, read_toml


class Leaf(Record):
    width: int
    scale: float = 1.0


class Tree(Record):
    name: str
    leaf: Leaf = Leaf(width=1)
    leaves: tuple[Leaf, ...] = ()
    spare: Leaf | None = None


MINIMAL = """
[corpus]
train = "data/train"
[space]
encoder_embed_dim = [8]
decoder_embed_dim = [8]
encoder_layers = [1]
decoder_layers = [1]
encoder_ffn_dim = [16]
decoder_ffn_dim = [16]
encoder_heads = [2]
decoder_self_heads = [2]
decoder_cross_heads = [2]
qkv_dim = 8
"""


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


def test_message_holds_every_problem_and_stays_short() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Tree, {"leaf": {"width": "x" * 10_000}, "colour": 1}, "tree.toml")
    message = str(caught.value)
    assert "missing key 'name'" in message
    assert "'leaf.width'" in message
    assert "unknown key 'colour'" in message
    assert len(message) < 500


def test_run_config_reads_with_defaults(tmp_path: Path) -> None:
    config = load_toml(RunConfig, _toml(tmp_path, MINIMAL))
    assert config.space.qkv_dim == 8
    assert config.search.population == 125


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (
            "[training]\nlerning_rate = 0.1\n",
            "unknown key 'training.lerning_rate'; did you mean 'learning_rate'?",
        ),
        ("[serch]\n", "unknown key 'serch'; did you mean 'search'?"),
        (
            '[training]\nupdates = "many"\n',
            "'training.steps': Input should be a valid integer, got 'many'",
        ),
        (
            "[training]\nlearning_rate = nan\n",
            "'training.learning_rate': Input should be a finite number",
        ),
        ('[search]\nmax_latency = "150"\n', "'search.max_latency': '150' is not a duration"),
        ('[workload]\nprecision = "fp64"\n', "'workload.precision'"),
    ],
)
def test_wrong_toml_names_file_and_dotted_key(tmp_path: Path, extra: str, expected: str) -> None:
    path = _toml(tmp_path, MINIMAL + extra)
    with pytest.raises(ConfigError) as caught:
        load_toml(RunConfig, path)
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mosdeploy\.toml: no such file"):
        read_toml(tmp_path / "mosdeploy.toml")


def test_folder_instead_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_toml(tmp_path)


def test_broken_toml_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not valid TOML: .*line 1"):
        read_toml(_toml(tmp_path, "[corpus\n"))


def test_toml_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "mosdeploy.toml"
    path.write_bytes(b'name = "caf\xe9"\n')
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_toml(path)
