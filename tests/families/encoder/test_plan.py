"""A run file that fits labelled texts and a checkpoint."""

import json
import shutil
import tomllib
from pathlib import Path

import pytest
from encoder_walking import examples, write_checkpoint

from mosdeploy.config import load_recipe, parse_run_config
from mosdeploy.config.encoder import EncoderRunConfig
from mosdeploy.errors import ConfigError
from mosdeploy.families.encoder.checkpoint import check_fits, load_checkpoint
from mosdeploy.families.encoder.plan import plan_run
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


def test_tags_of_words_have_the_names_that_they_are_given(root: Path, tmp_path: Path) -> None:
    rows = [{"words": row["tokens"], "ner": row["tags"]} for row in examples("tagging")]
    (tmp_path / "ner.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    plan = plan_run(
        DataRequest(
            ("ner.jsonl",), tmp_path, checkpoint=str(root / "bert"), text="words", label="ner"
        )
    )
    task = parsed(plan, tmp_path).task
    assert (task.kind, task.labels) == ("tagging", ("BAD", "GOOD"))
    assert (task.tokens, task.tags) == ("words", "ner")


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
        ("regression", {"text": "unlabelled", "label": "?"}, "holds '?'; regression needs"),
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
        ("", "no rows; the first line of a table names its columns"),
        ("text\none\ntwo\n", "one column, 'text', and none for the label"),
        ("text,label\n" + "".join(f"t{i},{'ab'[i % 2]}\n" for i in range(40)), "are too few"),
        ("text,label\na,b,c\n", "3 cells for 2 columns"),
        ("Open it,yes\nClose it,yes\nMove it,no\n", "and 'yes' looks like a label"),
        ("Open it,1.5\nClose it,2.5\nMove it,3.5\n", "and '1.5' looks like a label"),
        ("text;label\none;a\n", "line 1: the cells are separated by ';'"),
        (b"text,label\rone,a\rtwo,b\r", r"end in CR alone; .* tr '\\r' '\\n'"),
    ],
)
def test_a_bad_table_is_named(root: Path, tmp_path: Path, text: str | bytes, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=message):
        plan_run(DataRequest(("t.csv",), tmp_path, checkpoint=str(root / "bert")))
