from collections.abc import Callable
from pathlib import Path

import pytest
from encoder_vectors import write_modules

from mosdeploy.config.encoder import pooling_of, read_vector_modules
from mosdeploy.errors import ConfigError

FLAGS = {
    "pooling_mode_cls_token": False,
    "pooling_mode_mean_tokens": False,
    "pooling_mode_max_tokens": False,
}


@pytest.mark.parametrize(
    ("pooling", "flags", "expected"),
    [
        ("mean", {}, "mean"),
        ("cls", {}, "cls"),
        (["cls"], {}, "cls"),
        (None, FLAGS | {"pooling_mode_mean_tokens": True}, "mean"),
        (None, FLAGS | {"pooling_mode_cls_token": True}, "cls"),
        (None, FLAGS, "mean"),
    ],
)
def test_old_and_new_folders_are_read(
    tmp_path: Path, pooling: object, flags: dict[str, bool], expected: str
) -> None:
    write_modules(tmp_path, pooling, "Normalize", path="pool", **flags)
    said = read_vector_modules(tmp_path)
    assert said is not None and (said.pooling, said.is_normalized) == (expected, True)
    write_modules(tmp_path, pooling, path="pool", **flags)
    said = read_vector_modules(tmp_path)
    assert said is not None and not said.is_normalized


def test_a_folder_that_says_nothing(tmp_path: Path) -> None:
    assert read_vector_modules(tmp_path) is None
    for path in (None, "hub:some/where", "no folder", "package:no_such_package/model"):
        assert pooling_of(path, tmp_path) == "mean"
    write_modules(tmp_path, "cls")
    (tmp_path / "modules.json").unlink()  # copied without
    assert pooling_of(str(tmp_path), Path()) == pooling_of(".", tmp_path) == "cls"


def write_text(name: str, content: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        write_modules(folder, "mean")
        (folder / name).write_text(content)

    return write


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda x: write_modules(x, "max"),
            "by max is not supported",
        ),
        (lambda x: write_modules(x, ["mean", "cls"]), "pooling by mean and cls is not supported"),
        (
            lambda x: write_modules(x, None, **FLAGS | {"pooling_mode_max_tokens": True}),
            r"by pooling_mode_max_tokens is .*write pooling = .* in \[task\]",
        ),
        (lambda x: write_modules(x, 7), "pooling by 7 is not supported"),
        (
            lambda x: write_modules(x, "mean", "Dense"),
            "with Transformer, Pooling, Dense is not",
        ),
        (write_text("modules.json", "{"), "modules.json: not valid JSON"),
        (write_text("modules.json", "[1]"), "modules.json: no list of modules: TypeError"),
        (write_text("modules.json", "7"), "modules.json: no list of modules: TypeError"),
        (write_text("1_Pooling/config.json", "[]"), "no config of a Pooling: it is no object"),
    ],
)
def test_other_ways_are_refused(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    make(tmp_path)
    with pytest.raises(ConfigError, match=message):
        pooling_of(str(tmp_path), Path())
