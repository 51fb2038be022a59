"""What a teacher brings to the winner of the demo: without one, with word-level distillation, with
sequence-level distillation (Kim & Rush, EMNLP 2016), and with both; greedy and with beam 5.

    python benchmarks/distillation.py --dir runs/distillation --json

For each seed the supernet of the recipe `tiny` is trained, the best subnet below a number of
parameters is found, and the largest subnet is trained alone: it is the teacher, which then
translates the training sources with beam 5. Each way finetunes the same winner from the same
inherited weights for the same number of steps, in a run folder of its own. Choose by the columns of
validation pairs; those of test pairs are for the report. A killed run goes on where it was.
"""

import argparse
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from provenance import Provenance, provenance
from walk_cells import Scores, judged, kept, markdown, write_run_file

import mosdeploy
from mosdeploy.recipes import read_recipe
from mosdeploy.record import Record
from mosdeploy.run_folder.distilled import distilled
from mosdeploy.run_folder.run import open_run
from mosdeploy.storage import write_record

HERE = Path(__file__).parent
CATALOG = "jupyterlab-language-pack-fr-FR"
PACKAGES = ("torch", "numpy", "sentencepiece", "sacrebleu", CATALOG)
MAX_PARAMETERS = 900_000
BEAMS = (1, 5)
WAYS: dict[str, dict[str, Any]] = {
    "without": {},
    "word-level": {"teacher": "largest"},
    "sequence-level": {"data": "distilled"},
    "sequence-level and originals": {"data": "both"},
    "both": {"teacher": "largest", "data": "distilled"},
}
"""What each way says in [finetune]."""
TEACHER = "the teacher"


class Cell(Record):
    """One way with one seed."""

    way: str
    seed: int
    seconds: float
    scores: Scores


class Outcome(Provenance):
    """What distillation.json holds; `seconds` are of training, on a machine that was not quiet.

    `remembered` is the share of the training pairs whose translation by the teacher of the first
    seed is the reference, word for word: what a teacher knows by heart it adds nothing to.
    """

    max_parameters: int
    remembered: float
    cells: tuple[Cell, ...]


def base(folder: Path, options: argparse.Namespace, seed: int) -> mosdeploy.RunFolder:
    """A run folder with a supernet, a winner, a teacher, and what the teacher says."""
    write_run_file(
        folder,
        read_recipe("tiny"),
        {
            "training": {"seed": seed, "threads": options.threads},
            "finetune": {"steps": options.steps},
        },
    )
    run = mosdeploy.open_run(folder)
    run.train()
    if not (folder / "search" / "result.json").exists():
        run.search(max_parameters=MAX_PARAMETERS, device="local", verify=False)
    return run


def cells(options: argparse.Namespace, seed: int) -> list[Cell]:
    """All ways with one seed."""
    folder = options.dir / f"base-{seed}"
    run = base(folder, options, seed)
    teacher = run.finetune("largest")
    run.distill()

    def judge_teacher() -> Cell:
        scores = judged(folder, "largest", "finetuned", BEAMS)
        return Cell(way=TEACHER, seed=seed, seconds=teacher.train_seconds, scores=scores)

    found = [kept(folder / "cell.json", Cell, judge_teacher)]
    for way in options.ways:
        path = options.dir / f"{way.replace(' ', '-')}-{seed}"
        found.append(kept(path / "cell.json", Cell, partial(_taught, folder, path, way, seed)))
        print(found[-1].model_dump_json(), flush=True)
    return found


def _taught(base_folder: Path, folder: Path, way: str, seed: int) -> Cell:
    if not folder.exists():
        copy = folder.with_name(f".{folder.name}")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(base_folder, copy)
        (copy / "cell.json").unlink(missing_ok=True)
        text = (copy / "mosdeploy.toml").read_text()
        (copy / "mosdeploy.toml").unlink()
        write_run_file(copy, text, {"finetune": WAYS[way]})
        copy.rename(folder)
    card = mosdeploy.open_run(folder).finetune()
    scores = judged(folder, "winner", "finetuned", BEAMS)
    return Cell(way=way, seed=seed, seconds=card.train_seconds, scores=scores)


def remembered(folder: Path) -> float:
    """Share of the training pairs that the teacher of a folder translates as the reference does."""
    run = open_run(folder)
    data = run.family.load_data(run.config, folder)
    answers = set(distilled(run, "distilled").examples(run, data))
    return sum(pair in answers for pair in data.train) / len(data.train)


def table(found: Sequence[Cell]) -> str:
    """Markdown, means over seeds."""
    columns = list(found[0].scores.metrics)
    rows = []
    for way in dict.fromkeys(cell.way for cell in found):
        ours = [cell.scores for cell in found if cell.way == way]
        means = [f"{mean(scores.metrics[name] for scores in ours):.1f}" for name in columns]
        rows.append([way, len(ours), *means, f"{mean(scores.loss for scores in ours):.3f}"])
    return markdown(["way", "seeds", *columns, "validation loss"], rows)


def main() -> None:
    """Make the cells that are missing, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, required=True, help="run folders are kept here")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--steps", type=int, default=2400, help="of finetuning")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="keep distillation.json beside this")
    options = parser.parse_args()
    found = [cell for seed in options.seeds for cell in cells(options, seed)]
    print(table(found))
    if options.json:
        outcome = Outcome(
            **provenance(PACKAGES),
            max_parameters=MAX_PARAMETERS,
            remembered=remembered(options.dir / f"base-{options.seeds[0]}"),
            cells=tuple(found),
        )
        write_record(HERE / "distillation.json", outcome)


if __name__ == "__main__":
    main()
