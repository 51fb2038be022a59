"""The GLUE table of a pretrained supernet's subnets: each is finetuned on each task by itself.

    python benchmarks/glue.py --run runs/bert --picks winner smallest --data GLUE
    python benchmarks/glue.py --run runs/bert --tasks rte mrpc        # by name: extra `corpora`

In: a run folder whose supernet was trained on text alone (masked-lm or embedding), and the data: a
folder with GLUE's own files (`RTE/train.tsv`, `RTE/dev.tsv`, ...), or nyu-mll/glue. Out: a table of
the scores on GLUE's dev examples, by which nothing is chosen: a tenth of the training examples is
held out for that. Below stand the rows that the subnets are to be held against, as published.
Metrics are GLUE's: Matthews' correlation (CoLA), F1 and accuracy (MRPC, QQP),
Pearson's and Spearman's correlation (STS-B), accuracy elsewhere; MNLI is the matched part. The
average is over the tasks of the table, and of both metrics where a task has two.

Each subnet and task has a run folder of its own, `RUN/runs/glue-TASK-PICK`. A killed run goes on
with the same command.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import tomlkit
from results import markdown, processor, versions
from sklearn.metrics import f1_score

import mosdeploy
from mosdeploy.data.batches import Batches
from mosdeploy.errors import ConfigError
from mosdeploy.record import read_toml
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.subnets import select_subnet
from mosdeploy.run_folder.trained_run import trained_run
from mosdeploy.storage import atomic_write

PACKAGES = ("torch", "tokenizers", "datasets")
HUB = "datasets:nyu-mll/glue"
HARDWARE = ("compute", "amp", "threads")
"""What of the run file's [training] holds for the tasks too."""
BINARY = ("0", "1")
ENTAILMENT = ("entailment", "not_entailment")


@dataclass(frozen=True)
class Glue:
    """One task: its folder, the columns of its files, its classes in the order of their numbers
    (none of a regression), its metrics.
    """

    folder: str
    label: str
    texts: tuple[str, ...]
    labels: tuple[str, ...] = BINARY
    metrics: tuple[str, ...] = ("accuracy",)
    header: tuple[str, ...] = ()
    dev: str = "dev"
    hub_dev: str = "validation"


TASKS = {
    "mnli": Glue(
        "MNLI",
        "gold_label",
        ("sentence1", "sentence2"),
        ("entailment", "neutral", "contradiction"),
        dev="dev_matched",
        hub_dev="validation_matched",
    ),
    "qqp": Glue("QQP", "is_duplicate", ("question1", "question2"), metrics=("F1", "accuracy")),
    "qnli": Glue("QNLI", "label", ("question", "sentence"), ENTAILMENT),
    "sst2": Glue("SST-2", "label", ("sentence",)),
    "cola": Glue(
        "CoLA",
        "label",
        ("sentence",),
        metrics=("MCC",),
        header=("source", "label", "mark", "sentence"),  # its files have none
    ),
    "stsb": Glue("STS-B", "score", ("sentence1", "sentence2"), (), metrics=("Pearson", "Spearman")),
    "mrpc": Glue("MRPC", "Quality", ("#1 String", "#2 String"), metrics=("F1", "accuracy")),
    "rte": Glue("RTE", "label", ("sentence1", "sentence2"), ENTAILMENT),
}

PUBLISHED = (
    ("NAS-BERT", 5.0, None, 72.7, 8),
    ("6 layers of 128, by hand, with the same distillation", 5.0, None, 68.5, 8),
    ("NAS-BERT", 10.0, 76.4, 75.5, 8),
    ("a net by hand, with the same distillation", 10.0, None, 74.6, 8),
    ("AutoDistil", 26.8, 82.8, 79.6, 7),
    ("NAS-BERT", 30.0, None, 80.3, 8),
    ("a net by hand, with the same distillation", 30.0, None, 79.7, 8),
    ("AutoTinyBERT-KD-S1", 30.0, None, 80.0, 7),
    ("NAS-BERT", 60.0, None, 84.2, 8),
    ("a net by hand, with the same distillation", 60.0, None, 83.5, 8),
    ("DistilBERT", 66.0, None, 78.6, 7),
    ("MiniLMv2", 66.0, None, 81.7, 7),
    ("EFTNAS-S1", 66.0, None, 82.9, 7),
)
"""Name, parameters in millions, MNLI, average, and over how many tasks: Xu et
al. 2021 (NAS-BERT), Xu et al. 2022 (AutoDistil), Yin et al. 2021 (AutoTinyBERT), and as compared in
Munoz et al. 2024 (EFTNAS). None takes all metrics as this table does: MRPC and QQP are accuracy or
F1, and some start RTE and MRPC from MNLI.
"""


def main() -> None:
    """Finetune what is missing, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="run folder of the supernet")
    parser.add_argument("--data", type=Path, help="folder with GLUE's files; else by name")
    parser.add_argument("--picks", nargs="+", default=["winner"], help="as `finetune --pick`")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--rate", type=float, default=5e-5, help="peak of the learning rate")
    parser.add_argument("--tokens", type=int, default=4096, help="tokens of a batch")
    parser.add_argument("--json", type=Path, help="keep the results in this file")
    options = parser.parse_args()
    found = {pick: row(options, pick) for pick in options.picks}
    print(table(found, options.tasks))
    print()
    print(published_table())
    if options.json:
        made = {"versions": versions(PACKAGES), "processor": processor(), "rows": found}
        atomic_write(options.json, json.dumps(made, indent=2) + "\n")


def row(options: argparse.Namespace, pick: str) -> dict[str, dict[str, float]]:
    """Scores of one subnet by task."""
    return {task: scores(options, pick, task) for task in options.tasks}


def scores(options: argparse.Namespace, pick: str, task: str) -> dict[str, float]:
    """Finetune a subnet on a task, and score it: GLUE's metrics, and parameters in millions."""
    root = options.run.absolute()
    content = task_file(options, root, task)
    folder = root / "runs" / f"glue-{task}-{Path(pick).stem}"
    path = folder / "mosdeploy.toml"
    content = {"supernet_from": "../..", **content}
    atomic_write(path, tomlkit.dumps(content))
    steps = num_steps(root, folder, options.epochs)
    atomic_write(path, tomlkit.dumps({**content, "finetune": {"steps": steps}}))
    run = mosdeploy.open_run(folder)
    run.train()
    if pick == "winner":
        run.search()
    card = run.finetune(pick)
    state = trained_run(open_run(folder))
    chosen = select_subnet(state, card.arch, card.weights)
    examples = state.scored(state.data.test, state.config.workload)
    answers = examples.predict(chosen.subnet, [list(ids) for ids in examples.input_ids])
    outputs = [examples.decode(answer) for answer in answers]
    metrics = examples.metrics(outputs)
    if "F1" in TASKS[task].metrics:
        labels = TASKS[task].labels
        wanted = [labels[int(example.label)] for example in state.data.test]
        metrics["F1"] = 100 * float(f1_score(wanted, outputs, pos_label=labels[1]))
    millions = state.spec.num_parameters(card.arch) / 1e6
    return {name: metrics[name] for name in TASKS[task].metrics} | {"parameters": millions}


def task_file(options: argparse.Namespace, root: Path, task: str) -> dict[str, Any]:
    """What a task's file says, but for the steps."""
    glue = TASKS[task]
    of_run = read_toml(root / "mosdeploy.toml")
    section: dict[str, Any] = {
        "kind": "classification" if glue.labels else "regression",
        "max_tokens": of_run["task"].get("max_tokens", 128),
    }
    if glue.labels:
        section["labels"] = list(glue.labels)
    if options.data is None:
        section |= {"train": f"{HUB}/{task}/train", "test": f"{HUB}/{task}/{glue.hub_dev}"}
    else:
        for key, split in (("train", "train"), ("test", glue.dev)):
            path = root / "tasks" / "glue" / f"{task}-{split}.jsonl"
            convert(options.data / glue.folder / f"{split}.tsv", path, glue)
            section[key] = str(path)
        if len(glue.texts) > 1:
            section["text_pair"] = "text_pair"
    computing = of_run.get("training", {})
    hardware = {key: computing[key] for key in HARDWARE if key in computing}
    training = {
        **hardware,
        "tokens_per_batch": options.tokens,
        "learning_rate": options.rate,
        "schedule": "linear",
        "label_smoothing": 0.0,
    }
    return {"task": section, "training": training}


def num_steps(root: Path, folder: Path, epochs: float) -> int:
    """How many batches so many epochs of a task's training examples are."""
    run = open_run(folder)
    config = run.config
    examples = run.family.load_data(config, folder).train
    tokenizer = trained_run(open_run(root)).tokenizer
    dataset = run.family.tokenize(tokenizer, examples, config)
    tokens = config.training.tokens_per_batch
    return max(1, round(epochs * len(Batches(dataset, tokens, config.training.seed))))


def convert(source: Path, path: Path, glue: Glue) -> None:
    """Write one of GLUE's files as JSON Lines of `text`, maybe `text_pair`, and `label`. Its tables
    know no quotes; a line that is cut short, as a few of QQP's are, is left out.

    Raises
    ------
    ConfigError
        If the file is missing or lacks a column.
    """
    try:
        text = source.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{source} cannot be read: {error.strerror}") from error
    # not splitlines: sentences hold line ends of other alphabets
    rows = [line.split("\t") for line in text.split("\n") if line]
    header = list(glue.header) or rows.pop(0)
    names = dict(zip(glue.texts, ("text", "text_pair"), strict=False)) | {glue.label: "label"}
    missing = [column for column in names if column not in header]
    if missing:
        raise ConfigError(f"{source}: no column '{missing[0]}'; the columns are: {header}")
    places = {header.index(column): name for column, name in names.items()}
    whole = [cells for cells in rows if len(cells) > max(places)]
    if len(whole) < len(rows):
        print(f"{source}: {len(rows) - len(whole)} of {len(rows)} lines are cut short")
    found = [{name: cells[place] for place, name in places.items()} for cells in whole]
    atomic_write(path, "".join(json.dumps(cells) + "\n" for cells in found))


def table(rows: dict[str, dict[str, dict[str, float]]], tasks: list[str]) -> str:
    """A line a subnet, a column a task."""
    titles = [f"{TASKS[task].folder} ({', '.join(TASKS[task].metrics)})" for task in tasks]
    header = ["subnet", "parameters, M", *titles, "average"]
    body = []
    for pick, found in rows.items():
        by_task = [[found[task][name] for name in TASKS[task].metrics] for task in tasks]
        cells = ["/".join(f"{score:.1f}" for score in both) for both in by_task]
        size = found[tasks[0]]["parameters"]
        average = mean(mean(both) for both in by_task)
        body.append([pick, f"{size:.1f}", *cells, f"{average:.1f}"])
    return markdown(header, body)


def published_table() -> str:
    """What others report for nets of some sizes."""
    rows = [
        [name, f"{size:.1f}", "-" if mnli is None else f"{mnli:.1f}", f"{average:.1f}", str(over)]
        for name, size, mnli, average, over in PUBLISHED
    ]
    return markdown(["published", "parameters, M", "MNLI", "average", "over tasks"], rows)


if __name__ == "__main__":
    main()
