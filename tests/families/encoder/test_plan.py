"""A run file that fits labelled texts and a checkpoint."""

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from encoder_walking import examples, write_checkpoint

from mosdeploy.config import load_recipe, parse_run_config
from mosdeploy.config.encoder import EncoderRunConfig
from mosdeploy.errors import ConfigError
from mosdeploy.families.encoder.checkpoint import check_fits, load_checkpoint
from mosdeploy.families.encoder.plan import MAX_CLASSES, plan_run, task_columns
from mosdeploy.families.encoder.tables import Row
from mosdeploy.family import DataRequest, RunPlan


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    write_checkpoint(folder / "bert")
    for kind in ("classification", "tagging"):
        lines = "".join(f"{json.dumps(row)}\n" for row in examples(kind))
        (folder / f"{kind}.jsonl").write_text(lines)
    texts = [str(row["text"]) for row in examples("embedding")]
    (folder / "lines.txt").write_text("\n".join(texts) + "\n")
    return folder


def parsed(plan: RunPlan, root: Path) -> EncoderRunConfig:
    config = parse_run_config(tomllib.loads(plan.text), "plan", root)
    assert isinstance(config, EncoderRunConfig)
    return config


@pytest.mark.parametrize(
    ("name", "kind", "labels"),
    [
        ("classification.jsonl", "classification", ("bad", "good")),
        ("tagging.jsonl", "tagging", ("BAD", "GOOD")),
        ("lines.txt", "embedding", ()),
    ],
)
def test_a_run_file_fits_data_and_checkpoint(
    root: Path, name: str, kind: str, labels: tuple[str, ...]
) -> None:
    plan = plan_run(DataRequest((name,), root, checkpoint="bert"))
    config = parsed(plan, root)
    assert (config.task.kind, config.task.labels) == (kind, labels)
    check_fits(load_checkpoint("bert", root), config.space, config.vocab_size)
    # 24 positions, and texts of fewer tokens
    assert config.max_tokens == config.export.max_input_len <= 24
    assert bool(config.teacher_steps) == (kind != "embedding")
    assert all(label in plan.facts.get("labels", "") for label in labels)


def test_a_regression_tells_its_numbers_and_what_is_not_read(root: Path, tmp_path: Path) -> None:
    lines = [f"the film is {i},{i % 30},{i}\n" for i in range(120)]
    (tmp_path / "scores.csv").write_text("text,label,id\n" + "".join(lines))
    plan = plan_run(DataRequest(("scores.csv",), tmp_path, checkpoint=str(root / "bert")))
    assert plan.facts["labels"].startswith("30 different numbers, 0 to 29; if they stand for class")
    assert plan.facts["task"] == "regression; columns: text 'text', label 'label'; not read: 'id'"


def test_vectors_are_made_as_the_checkpoint_makes_them(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    shutil.copytree(root / "bert", folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    plan = plan_run(DataRequest(("lines.txt",), root, checkpoint=str(folder)))
    config = parsed(plan, root)
    assert (config.task.pooling, config.space.head) == ("cls", "cls-vector")


def test_the_steps_keep_the_proportions_of_the_recipe(root: Path) -> None:
    plan = plan_run(DataRequest(("classification.jsonl",), root, checkpoint="bert"))
    config = parsed(plan, root)
    steps = (config.teacher_steps, config.training.steps, config.finetune.steps)
    assert steps == (120, 60, 90)
    recipe = load_recipe("minilm-l6").training
    assert config.training.sandwich == recipe.sandwich
    assert config.training.num_random_archs == recipe.num_random_archs
    half = parsed(plan.scaled(0.5, "less time"), root)
    assert (half.teacher_steps, half.training.steps, half.finetune.steps) == (60, 30, 45)
    assert half.training.warmup_steps == 3


def test_files_beside_the_training_file_are_held_out(root: Path, tmp_path: Path) -> None:
    content = (root / "classification.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "train.jsonl").write_text("".join(content[:300]))
    (tmp_path / "dev.jsonl").write_text("".join(content[300:]))
    request = DataRequest(("train.jsonl",), tmp_path, checkpoint=str(root / "bert"))
    config = parsed(plan_run(request), tmp_path)
    assert (config.task.valid, config.task.test) == ("dev.jsonl", None)


@pytest.mark.parametrize(
    ("kind", "row", "told"),
    [
        ("classification", {"id": 1, "text": "unlabelled"}, "no column 'label'"),
        ("classification", {"text": "of a contest", "label": -1}, "begins with another label: -1"),
        ("regression", {"text": "unlabelled", "label": None}, "holds None; regression needs"),
        ("tagging", {"tokens": ["unlabelled"], "tags": []}, "1 words in 'tokens' and 0 tags"),
    ],
)
def test_a_file_beside_it_without_labels_is_not_read(
    root: Path, tmp_path: Path, kind: str, row: dict[str, object], told: str
) -> None:
    lines = [json.dumps(x) for x in examples(kind)]
    if kind == "regression":
        lines = [json.dumps({**x, "label": i / 7}) for i, x in enumerate(examples(kind))]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    (tmp_path / "test.jsonl").write_text(json.dumps(row) + "\n")
    request = DataRequest(("train.jsonl",), tmp_path, checkpoint=str(root / "bert"))
    plan = plan_run(request)
    assert parsed(plan, tmp_path).task.test is None
    assert told in plan.facts["not read"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checkpoint": None}, "an encoder starts from a checkpoint: add --checkpoint FOLDER"),
        ({"size": "tiny"}, "the checkpoint sets the size of an encoder"),
        ({"num_winners": 4}, "--winners 4: the supernet of an encoder serves any number of limits"),
        ({"languages": ("en", "de")}, "--languages: an encoder's texts are not translated"),
        ({"files": ("lines.txt",), "text": "review"}, r"lines\.txt is lines of text"),
        ({"files": ("a.csv", "b.csv")}, "an encoder learns from one file, got 2"),
        ({"files": ("texts.csv.gz",)}, r"texts\.csv\.gz: a table ends in \.csv, .*unpack"),
        ({"files": ("gone.csv",)}, r"gone\.csv: no such file; give a table of texts: --train"),
        ({"checkpoint": "gone"}, "no such folder: .*gone"),
        ({"label": "lable"}, "no column 'lable'; the columns are: 'text', 'label'"),
    ],
)
def test_a_wrong_request_is_refused(root: Path, changes: dict[str, object], message: str) -> None:
    given = {"files": ("classification.jsonl",), "checkpoint": "bert", **changes}
    with pytest.raises(ConfigError, match=message):
        plan_run(DataRequest(root=root, **given))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text\none\ntwo\n", "one column, 'text', and none for the label"),
        ("text,label\n" + "".join(f"t{i},{'ab'[i % 2]}\n" for i in range(40)), "are too few"),
        ("Open it,yes\nClose it,yes\nMove it,no\n", "and 'yes' looks like a label"),
        ("text;label\none;a\n", "line 1: the cells are separated by ';'"),
        (b"text,label\rone,a\rtwo,b\r", r"end in CR alone; .* tr '\\r' '\\n'"),
    ],
)
def test_a_bad_table_is_named(root: Path, tmp_path: Path, text: str | bytes, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=message):
        plan_run(DataRequest(("t.csv",), tmp_path, checkpoint=str(root / "bert")))


def rows(**columns: list[Any]) -> list[Row]:
    lines = zip(*columns.values(), strict=True)
    return [
        Row(f"t.csv, line {i + 2}", dict(zip(columns, cells, strict=True)))
        for i, cells in enumerate(lines)
    ]


def test_classes_are_counted_and_sorted() -> None:
    found = task_columns(rows(text=["a", "b", "c"], label=["no", "yes", "no"]), None, None)
    assert (found.kind, found.labels) == ("classification", ("no", "yes"))
    assert found.columns == {"text": "text", "label": "label"}
    assert found.counts == {"no": 2, "yes": 1}
    stars = task_columns(rows(review=list("abcd"), rating=["10", "9", "1", "10"]), None, None)
    assert stars.labels == ("1", "9", "10")  # as numbers
    assert stars.columns == {"text": "review", "label": "rating"}


@pytest.mark.parametrize("values", [["0.5", "1", "2"], [str(i) for i in range(30)]])
def test_numbers_on_a_scale_are_a_regression(values: list[str]) -> None:
    found = task_columns(rows(text=["t"] * len(values), score=values), None, None)
    assert (found.kind, found.labels) == ("regression", ())


@pytest.mark.parametrize(
    "names", [("question", "sentence"), ("sentence1", "sentence2"), ("text", "text_pair")]
)
def test_one_of_two_texts_is_not_taken_alone(names: tuple[str, str]) -> None:
    first, second = names
    table = rows(**{first: ["a", "b"], second: ["c", "d"], "label": ["x", "y"], "index": [1, 2]})
    found = task_columns(table, None, None)
    assert found.columns == {"text": first, "text_pair": second, "label": "label"}
    assert found.unread == ("index",)
    assert task_columns(table, first, "label").unread == (second, "index")


def test_of_unknown_names_the_longest_text_is_taken() -> None:
    table = rows(number=["1", "2"], body_of_it=["a long one", "another one"], what=["x", "y"])
    assert task_columns(table, None, "what").columns == {"text": "body_of_it", "label": "what"}
    with pytest.raises(ConfigError, match=r"no column for the label; .*body_of_it', 'what'"):
        task_columns(table, None, None)
    assert task_columns(table, "number", "what").columns["text"] == "number"


def test_tags_tell_their_types() -> None:
    table = rows(tokens=[["a", "b"], ["c"]], tags=[["B-PER", "I-PER"], ["B-LOC"]])
    found = task_columns(table, None, None)
    assert (found.kind, found.labels) == ("tagging", ("LOC", "PER"))
    assert found.counts == {"LOC": 1, "PER": 1}
    spaced = rows(tokens=[["a", "b"]], tags=[["B-JOB  TITLE", "I-JOB TITLE"]])
    assert task_columns(spaced, None, None).labels == ("JOB_TITLE",)
    for tags in (["PER"], None, ["O"]):
        with pytest.raises(ConfigError, match="'tags' holds"):
            task_columns(rows(tokens=[["a"]], tags=[tags]), None, None)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["x", "x"], "nothing to tell apart"),
        ([f"v{i}" for i in range(MAX_CLASSES + 1)], "neither numbers nor"),
        (["no", " ", "yes", ""], r"line 3: column 'label' is empty there .in 2 of 4"),
        (["no", "no", "yes", None], r"line 5: column 'label' is empty"),
        (["neg", "pos", "pos", "Pos"], r"line 5: .* holds 'Pos' there .in 1 of 4 rows., and 'pos'"),
        (["good", "very\ngood"], "printed as one line"),
        ([f"{i},5" for i in range(50)], "line 2: .* write numbers as in 1234.57"),
    ],
)
def test_labels_that_are_a_mistake_are_refused(labels: list[Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task_columns(rows(text=["a"] * len(labels), label=labels), None, None)


@pytest.mark.parametrize("strange", ["NA", "nan", "inf", "1e39", "1_000"])
@pytest.mark.parametrize(("step", "count"), [(1, 30), (0.5, 10)])
def test_a_few_words_among_numbers_are_no_class(strange: str, step: float, count: int) -> None:
    values = [str(step * (i % count)) for i in range(100)]
    values[9] = values[-1] = strange
    message = rf"line 11: column 'score' holds '{strange}' there, and no number in 2 of 100"
    with pytest.raises(ConfigError, match=message):
        task_columns(rows(text=["t"] * 100, score=values), None, None)


@pytest.mark.parametrize(("num_numbers", "num_words"), [(20, 1), (30, 5)])
def test_a_word_among_numbers_of_classes_is_one(num_numbers: int, num_words: int) -> None:
    values = [str(i % num_numbers) for i in range(100)]
    values[-num_words:] = ["other"] * num_words
    found = task_columns(rows(text=["t"] * 100, label=values), None, None)
    assert (found.kind, found.counts["other"]) == ("classification", num_words)
