"""benchmarks/glue.py on files as GLUE publishes them, made up."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmark_scripts import benchmark_module
from encoder_walking import examples, make_encoder_folder
from walking import opened


@pytest.fixture(scope="module")
def glue() -> Iterator[Any]:
    with benchmark_module("glue") as module:
        yield module


def converted(glue: Any, folder: Path, task: str, content: str) -> list[dict[str, str]]:
    source = folder / "train.tsv"
    source.write_text(content, encoding="utf-8")
    path = folder / "train.jsonl"
    glue.convert(source, path, glue.TASKS[task])
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_without_a_header(glue: Any, tmp_path: Path) -> None:
    content = 'gj04\t1\t\tThey slept.\ngj04\t0\t*\tThey sleeped "so.\n'
    assert converted(glue, tmp_path, "cola", content) == [
        {"text": "They slept.", "label": "1"},
        {"text": 'They sleeped "so.', "label": "0"},
    ]


def test_a_pair_behind_a_byte_order_mark(glue: Any, tmp_path: Path) -> None:
    content = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tone\u2028a\ttwo\n"
    expected = [{"text": "one\u2028a", "text_pair": "two", "label": "1"}]
    assert converted(glue, tmp_path, "mrpc", content) == expected


def test_the_table_takes_the_mean_of_both_metrics_of_a_task(glue: Any) -> None:
    found = {
        "cola": {"MCC": 50.0, "parameters": 11.0},
        "mrpc": {"F1": 90.0, "accuracy": 80.0, "parameters": 11.0},
    }
    head, _, line = glue.table({"winner": found}, ["cola", "mrpc"]).splitlines()
    assert "| CoLA (MCC) | MRPC (F1, accuracy) | average |" in head
    assert line == "| winner | 11.0 | 50.0 | 90.0/80.0 | 67.5 |"


def write_glue(folder: Path) -> None:
    """RTE and CoLA: whether a text is good, of some dozens of texts."""
    texts = [(str(x["text"]), x["label"] == "good") for x in examples("classification")]
    for split, part in (("train", texts[:300]), ("dev", texts[300:])):
        cola = [f"x\t{int(good)}\t\t{text}" for text, good in part]
        names = {True: "entailment", False: "not_entailment"}
        rte = [f"{i}\t{text}\tthe film\t{names[good]}" for i, (text, good) in enumerate(part)]
        files = {"CoLA": cola, "RTE": ["index\tsentence1\tsentence2\tlabel", *rte]}
        for name, lines in files.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name / f"{split}.tsv").write_text("\n".join(lines) + "\n")


@pytest.mark.slow
def test_subnets_of_a_pretrained_supernet_learn_tasks(
    glue: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_encoder_folder(tmp_path / "run", "masked-lm")
    write_glue(tmp_path / "glue")
    opened(root).train()
    arguments = ["--run", str(root), "--data", str(tmp_path / "glue"), "--tasks", "cola", "rte"]
    more = ["--picks", "largest", "smallest", "--epochs", "20", "--rate", "5e-3", "--tokens", "256"]
    monkeypatch.setattr(
        "sys.argv", ["glue.py", *arguments, *more, "--json", f"{tmp_path}/out.json"]
    )
    glue.main()
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert rows["largest"]["cola"]["MCC"] > 50 and rows["largest"]["rte"]["accuracy"] > 75
    assert rows["largest"]["cola"]["parameters"] > rows["smallest"]["cola"]["parameters"]
    assert "| subnet | parameters, M | CoLA (MCC) | RTE (accuracy) | average |" in (
        capsys.readouterr().out
    )
    assert (root / "runs" / "glue-rte-smallest" / "mosdeploy.toml").exists()
