"""How fast one sentence is translated, by PyTorch, CTranslate2 and each of our precisions.

    pip install 'mosdeploy[bench]'
    python benchmarks/translation_speed.py --json

Batch 1, 30 source tokens, 30 decode steps, two uniform pre-norm models: `sub` (6+2 layers) and
`base` (6+6), d 512, FFN 2048, 8 heads, vocabulary 32,000. The weights are random and the same for
all, but such that the translation changes from step to step and never ends early. Contenders take
turns on each sentence, so that a disturbance meets all. Times are medians of CPU time, ratios
medians of each round's ratio to CTranslate2 in int8. The machine should do nothing else.

With --shortlist K each precision of ours, and CTranslate2 once more with its `vmap`, scores only K
target tokens of each source token and 2 K frequent ones.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from results import add_result_options, finish
from translation_speed_contenders import (
    LENGTH_PENALTY,
    NUM_DECODER_LAYERS,
    CTranslate2,
    Task,
    TorchEager,
    Translate,
    contenders,
    lively_subnet,
)

from mosdeploy.families.translation.scoring import translate

PACKAGES = ("torch", "onnxruntime", "ctranslate2", "numpy")
BEAMS = (1, 5)
REFERENCE = CTranslate2("int8").name


@dataclass(frozen=True)
class Row:
    """One contender on one model with one beam."""

    name: str
    cpu_ms: float
    times_as_fast: float
    file_bytes: int


def compare(model: str, beam: int, options: argparse.Namespace) -> list[Row]:
    """Build all contenders, and let them take turns."""
    task = Task.of(model, beam, options.threads, options.shortlist)
    subnet = lively_subnet(task)
    sources = task.sentences()
    expected = {
        restricted: translate(
            subnet,
            sources,
            beam,
            task.num_steps,
            LENGTH_PENALTY,
            shortlist=task.shortlist if restricted else None,
        )
        for restricted in (False, True)
    }
    if not task.is_lively(expected[False]):
        sys.exit(f"the weights are not lively enough: {expected}")
    opened: dict[str, Translate] = {}
    sizes: dict[str, int] = {}
    for contender in contenders(bool(options.shortlist)):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            given = task if contender.restricted else task.whole
            contender.build(subnet, given, folder)
            opened[contender.name] = contender.open(given, folder)
            # CTranslate2's lists of tokens, which the others leave to the tokenizer, do not count
            files = (path for path in folder.iterdir() if path.suffix != ".json")
            sizes[contender.name] = sum(path.stat().st_size for path in files)
        exact = isinstance(contender, TorchEager) or contender.name.startswith("`fp32`")
        answers = [opened[contender.name](ids) for ids in sources]
        if exact and answers != expected[contender.restricted]:
            sys.exit(f"{contender.name} gives other tokens than torch")
    cpu_ms = take_turns(opened, sources, options.rounds)
    return [
        Row(name, statistics.median(own), ratio(cpu_ms[REFERENCE], own), sizes[name])
        for name, own in cpu_ms.items()
    ]


def take_turns(
    opened: dict[str, Translate], sources: Sequence[Sequence[int]], rounds: int
) -> dict[str, list[float]]:
    """Return CPU milliseconds of each contender, a median a round."""
    found: dict[str, list[float]] = {name: [] for name in opened}
    for number in range(rounds):
        taken: dict[str, list[float]] = {name: [] for name in opened}
        for ids in sources:
            for name, run in opened.items():
                begin = time.process_time()
                run(ids)
                taken[name].append((time.process_time() - begin) * 1e3)
        for name in opened:
            found[name].append(statistics.median(taken[name]))
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return found


def ratio(reference_ms: Sequence[float], measured_ms: Sequence[float]) -> float:
    """Return the median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(reference_ms, measured_ms, strict=True))


def main() -> None:
    """Measure, print, keep the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    models = list(NUM_DECODER_LAYERS)
    add("--threads", type=int, default=1)
    add("--shortlist", type=int, default=0, help="tokens listed for each source token; 0: all")
    add("--rounds", type=int, default=10, help="at least 5 for a figure worth keeping")
    add("--models", nargs="+", choices=models, default=models)
    add_result_options(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lines = []
    for model in options.models:
        by_beam = [compare(model, beam, options) for beam in BEAMS]
        for rows in zip(*by_beam, strict=True):
            figures = [x for row in rows for x in (f"{row.cpu_ms:.1f}", f"{row.times_as_fast:.2f}")]
            size = f"{rows[0].file_bytes / 1e6:.1f}"
            lines.append([f"`{model}`", rows[0].name, *figures, size])
    speed = f"x {REFERENCE}"
    header = ("model", "contender", "greedy, ms", speed, "beam 5, ms", speed, "file, MB")
    finish(options, PACKAGES, header, lines)


if __name__ == "__main__":
    main()
