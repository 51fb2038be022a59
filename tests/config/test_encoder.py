import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from encoder_checkpoints import write_modules

from mosdeploy.config import load_recipe, parse_run_config
from mosdeploy.config.encoder import EncoderRunConfig, pooling_of, read_vector_modules
from mosdeploy.errors import ConfigError
from mosdeploy.recipes import read_recipe
from mosdeploy.record import parse


def changed(section: str, **changes: Any) -> EncoderRunConfig:
    data: dict[str, Any] = tomllib.loads(read_recipe("minilm-l6"))
    data[section] = {**data[section], **changes}
    return parse(EncoderRunConfig, EncoderRunConfig.completed(data, Path()), "run file")


def test_the_recipe_is_the_real_checkpoint() -> None:
    config = load_recipe("minilm-l6")
    # 22,713,216 of the 6 x 384 checkpoint with its pooler, 384 * 2 + 2 of two classes
    assert config.spec.num_parameters(config.space.largest) == 22_713_216 + 770


def test_the_largest_of_the_base_recipes_is_bert_base() -> None:
    # 109,482,240 with its pooler; 768 * 2 + 2 of two classes
    config = load_recipe("bert-base.sst2")
    assert config.spec.num_parameters(config.space.largest) == 109_482_240 + 1538
    # in place of the pooler the transform with its norm, and the bias of the logits
    pooler = 768 * 769
    transform = 768 * 769 + 2 * 768
    masked = 109_482_240 - pooler + transform + 30_522
    for name in ("widths", "widths-depths"):
        config = load_recipe(f"bert-base.{name}")
        assert config.spec.num_parameters(config.space.largest) == masked
    config = load_recipe("bert-base.bottlenecks")
    assert config.spec.num_parameters(config.space.largest) == masked + 12 * 2 * 768 * 769


def test_the_published_pretraining_is_that_of_the_recipes() -> None:
    for name in ("widths", "widths-depths", "bottlenecks"):
        config = load_recipe(f"bert-base.{name}")
        training = config.training
        assert (training.steps, training.warmup_steps) == (125_000, 10_000)
        assert training.schedule == "linear"
        assert (training.learning_rate, training.weight_decay) == (5e-4, 0.01)
        # 2,048 texts of 128 tokens, which the largest, the smallest and a random one share
        assert training.tokens_per_batch * training.grad_accum_steps == 2048 * 128
        assert (training.batch_sharing, training.sandwich, training.num_random_archs) == (
            "shared",
            "both",
            1,
        )
        assert (config.task.max_tokens, config.supernet.dropout) == (128, 0.0)


@pytest.mark.parametrize(
    ("kind", "labels", "head", "num_outputs"),
    [
        ("classification", ["a", "b", "c"], "pooled", 3),
        ("regression", [], "pooled", 1),
        ("tagging", ["KEY", "CODE"], "tokens", 5),
        ("embedding", [], "vector", 0),
        ("masked-lm", [], "masked-lm", 0),
    ],
)
def test_the_head_follows_from_the_task(
    kind: str, labels: list[str], head: str, num_outputs: int
) -> None:
    config = changed("task", kind=kind, labels=labels)
    assert (config.space.head, config.space.num_outputs) == (head, num_outputs)


def test_another_head_than_that_of_the_task_is_refused() -> None:
    data = tomllib.loads(read_recipe("minilm-l6"))
    for name, value in (("head", "tokens"), ("head", "pooledd"), ("num_outputs", 7)):
        given = {**data, "space": {**data["space"], name: value}}
        with pytest.raises(ConfigError, match=rf"space.{name}: {value!r}, but it follows"):
            parse_run_config(given, "the run file", Path())
    same = {**data, "space": {**data["space"], "head": "pooled"}}
    assert parse_run_config(same, "the run file", Path()).space.head == "pooled"


def test_tags_are_begin_and_inside_of_each_type() -> None:
    names = changed("task", kind="tagging", labels=["KEY", "CODE"]).task.tag_names
    assert names == ("O", "B-KEY", "I-KEY", "B-CODE", "I-CODE")


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("task", {"labels": ["one"]}, "classification needs 2 or more"),
        ("task", {"labels": ["a", "a"]}, "labels must differ"),
        ("task", {"labels": ["a", "b "]}, "labels: 'b ' is empty, begins or ends with a space"),
        (
            "task",
            {"kind": "tagging", "labels": ["JOB TITLE"]},
            "labels: 'JOB TITLE' holds white space, .* write 'JOB_TITLE'",
        ),
        ("task", {"max_tokens": 600}, "space.max_positions is 512"),
        ("task", {"pooling": "cls"}, "pooling: of embedding alone"),
        ("teacher", {"path": "x"}, "is not trained; leave out learning_rate and steps"),
        ("workload", {"precision": "int4"}, "'int4' is not one of this family"),
        ("workload", {"padding": "kept"}, '"kept" is for fp32 alone, not int8'),
        ("export", {"precision": "int4"}, "int4 is not possible with this .* possible: auto, fp32"),
        ("finetune", {"inherited_share": 0.4}, "finetune.inherited_share: of translations"),
        (
            "task",
            {"kind": "tagging", "labels": ["KEY"], "label": "x"},
            "label: of classification and regression alone, not of tagging",
        ),
    ],
)
def test_what_does_not_fit_is_named(section: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        changed(section, **changes)


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("space", {"embed_dim": [192, 384]}, "vectors of an embedding task have one width"),
        ("teacher", {"path": "teacher"}, "an embedding learns the vectors of"),
    ],
)
def test_what_an_embedding_has_not(section: str, changes: dict[str, Any], message: str) -> None:
    data: dict[str, Any] = tomllib.loads(read_recipe("minilm-l6"))
    data["task"] |= {"kind": "embedding", "labels": []}
    data["teacher"] = {}
    data[section] |= changes
    with pytest.raises(ConfigError, match=message):
        parse(EncoderRunConfig, EncoderRunConfig.completed(data, Path()), "run file")


def test_the_key_decides_how_vectors_are_made(tmp_path: Path) -> None:
    write_modules(tmp_path, "cls")
    data: dict[str, Any] = tomllib.loads(read_recipe("minilm-l6"))
    data["checkpoint"]["path"] = tmp_path.name
    data["task"] |= {"kind": "embedding", "labels": []}
    heads = []
    for given in ({}, {"pooling": "mean"}, {"pooling": "cls"}):
        task = {**data["task"], **given}
        heads.append(parse_run_config({**data, "task": task}, "x", tmp_path.parent).space.head)
    assert heads == ["cls-vector", "vector", "cls-vector"]
    # what cannot be seen from here is checked by `train`
    assert parse_run_config(data, "x", tmp_path).space.head == "vector"


# -- pooling

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
        (
            lambda x: write_modules(x, "mean", "Dense"),
            "with Transformer, Pooling, Dense is not",
        ),
        (write_text("modules.json", "[1]"), "modules.json: no list of modules: TypeError"),
        (write_text("1_Pooling/config.json", "[]"), "no config of a Pooling: it is no object"),
    ],
)
def test_other_ways_are_refused(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    make(tmp_path)
    with pytest.raises(ConfigError, match=message):
        pooling_of(str(tmp_path), Path())
