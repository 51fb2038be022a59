"""How fast one sentence is translated, by PyTorch, CTranslate2 and each of our precisions, with the
same weights.

    pip install 'mosdeploy[bench]'
    python benchmarks/translation_speed.py --json --beam 1

Batch 1, 30 source tokens, 30 decode steps, two uniform pre-norm models: `sub` (6+2 layers) and
`base` (6+6), d 512, FFN 2048, 8 heads, vocabulary 32,000. The weights are random, but such that the
translation changes from step to step and never ends early: fresh ones repeat a token, and would
hide a wrong cache. Contenders take turns on each sentence, so that a disturbance meets all; figures
are medians, ratios are medians of each round's ratio.

With --shortlist K each precision of ours, and CTranslate2 once more with its `vmap`, scores only K
target tokens of each source token and 2 K frequent ones: made-up ones, the same for all, as many
different ones a sentence as real shortlists have.

Beside each stands a bound: the encoder's products at the processor's peak, and in each step the
decoder's weights once from memory or its products at that peak, whichever takes longer. Both are
measured with torch in fp32; an int8 product counts a quarter, as with VNNI. Weights that stay in
the processor's cache can beat it. The machine should do nothing else. Writes
translation_speed-beamK-threadsN.json beside this script.
"""

import argparse
import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from provenance import command, versions
from speed_bound import Machine, bound_ms, measure_machine, timed
from speed_contenders import (
    LENGTH_PENALTY,
    Onnx,
    Translate,
    contenders,
    open_session,
    run_onnx,
)
from speed_report import peak_mib, ratio, say
from speed_task import NUM_DECODER_LAYERS, NUM_SENTENCES, Task, lively_subnet

from mosdeploy.families.translation.decoding import translate
from mosdeploy.families.translation.network import TranslationSubnet
from mosdeploy.record import Record
from mosdeploy.storage import write_record

HERE = Path(__file__).parent
PACKAGES = ("torch", "onnxruntime", "ctranslate2", "apache-tvm", "numpy")


class Row(Record):
    """One contender on one model. `x_fp32`, `x_int8` and `x_vmap`: how many times as fast as
    CTranslate2 in fp32, in int8 and in int8 with its vmap, by CPU time. `same_tokens`: as torch
    with the same shortlist.
    """

    model: str
    name: str
    cpu_ms: float
    wall_ms: float
    bound_ms: float
    x_fp32: float
    x_int8: float
    x_vmap: float | None = None
    same_tokens: float
    file_bytes: int
    build_s: float
    load_s: float
    peak_mib: float
    profile_ms: dict[str, float] | None


class Outcome(Record):
    """What the JSON holds; times are of the whole call, a sentence."""

    command: str
    versions: dict[str, str]
    machine: Machine
    beam: int
    threads: int
    shortlist: int = 0
    rounds: int
    rows: tuple[Row, ...]


def main() -> None:
    """Measure, print, keep the result."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    if options.probe:
        print(json.dumps(probe(options)))
        return
    machine = measure_machine()
    rows = [row for model in options.models for row in compare(model, options, machine)]
    outcome = Outcome(
        command=command(),
        versions=versions(PACKAGES),
        machine=machine,
        beam=options.beam,
        threads=options.threads,
        shortlist=options.shortlist,
        rounds=options.rounds,
        rows=tuple(rows),
    )
    name = f"translation_speed-beam{options.beam}-threads{options.threads}"
    name += f"-shortlist{options.shortlist}" if options.shortlist else ""
    write_record(options.out or HERE / f"{name}.json", outcome)
    print(outcome.model_dump_json() if options.json else table(outcome))


def parse_options() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    models = list(NUM_DECODER_LAYERS)
    add("--beam", type=int, default=1)
    add("--threads", type=int, default=1)
    add("--shortlist", type=int, default=0, help="tokens listed for each source token; 0: all")
    add("--rounds", type=int, default=10, help="at least 5 for a figure worth keeping")
    add("--models", nargs="+", choices=models, default=models)
    add("--only", nargs="+", help="contenders by name; PyTorch and CTranslate2 always run")
    add("--profile", action="store_true", help="add the time of each operator of our precisions")
    add("--tiny", action="store_true", help="toy models, to try the script: figures mean nothing")
    add("--json", action="store_true", help="print the JSON instead of the table")
    add("--out", type=Path, help="where the result goes; default: beside this script")
    add("--probe", type=Path, help=argparse.SUPPRESS)
    add("--name", help=argparse.SUPPRESS)
    return parser.parse_args()


# -- measuring -------------------------------------------------------------------------------------


def task_of(model: str, options: argparse.Namespace) -> Task:
    """What is to be done, as the command line says."""
    return Task.of(model, options.beam, options.threads, options.tiny, options.shortlist)


def compare(model: str, options: argparse.Namespace, machine: Machine) -> list[Row]:
    """Build all, let them take turns, and measure each once more in a process of its own."""
    task = task_of(model, options)
    subnet = lively_subnet(task)
    sources = task.sentences()
    chosen = {
        contender.name: contender
        for contender in contenders(bool(options.shortlist))
        if not options.only or contender.name in options.only or not isinstance(contender, Onnx)
    }
    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: Path(temporary) / name for name in chosen}
        build_s: dict[str, float] = {}
        opened: dict[str, Translate] = {}
        for name, contender in chosen.items():
            folders[name].mkdir()
            given = task if contender.restricted else task.whole
            build = functools.partial(contender.build, subnet, given, folders[name])
            build_s[name] = timed(build)[1]
            opened[name] = contender.open(given, folders[name])
            say(f"{model}: built {name} in {build_s[name]:.1f} s")
        answers = {name: [run(ids) for ids in sources] for name, run in opened.items()}
        expected = {restricted: in_torch(subnet, task, restricted) for restricted in (False, True)}
        # a shortlist leaves less to choose from; that the cache is right is seen without it
        all_steps = all(len(ids) == task.num_steps for ids in expected[True])
        if not task.is_lively(expected[False]) or not all_steps:
            sys.exit(f"the weights are not lively enough: {expected}")
        cpu_ms, wall_ms = take_turns(opened, sources, options.rounds)
        probes = {name: probe_apart(model, name, folders[name], options) for name in chosen}
        profiles = {
            name: profile(folders[name] / "model.onnx", task)
            for name, contender in chosen.items()
            if options.profile and isinstance(contender, Onnx)
        }
        sizes = {name: model_bytes(folder) for name, folder in folders.items()}
    return [
        Row(
            model=model,
            name=name,
            cpu_ms=statistics.median(cpu_ms[name]),
            wall_ms=statistics.median(wall_ms[name]),
            bound_ms=bound_ms(
                contender.width, task if contender.restricted else task.whole, machine
            ),
            x_fp32=ratio(cpu_ms["CTranslate2 fp32"], cpu_ms[name]),
            x_int8=ratio(cpu_ms["CTranslate2 int8"], cpu_ms[name]),
            x_vmap=ratio(cpu_ms["CTranslate2 int8 vmap"], cpu_ms[name]) if task.shortlist else None,
            same_tokens=agreement(expected[contender.restricted], answers[name]),
            file_bytes=sizes[name],
            build_s=build_s[name],
            load_s=probes[name]["load_s"],
            peak_mib=probes[name]["peak_mib"],
            profile_ms=profiles.get(name),
        )
        for name, contender in chosen.items()
    ]


def in_torch(subnet: TranslationSubnet, task: Task, restricted: bool) -> list[list[int]]:
    """Answers of the subnet itself, with the whole vocabulary or the shortlist."""
    beam = task.workload.beam
    shortlist = task.shortlist if restricted else None
    sources = task.sentences()
    return translate(subnet, sources, beam, task.num_steps, LENGTH_PENALTY, shortlist=shortlist)


def model_bytes(folder: Path) -> int:
    """Size of the model; CTranslate2's lists of tokens, which the others leave to the tokenizer,
    are not counted.
    """
    return sum(file.stat().st_size for file in folder.iterdir() if file.suffix != ".json")


def take_turns(
    opened: dict[str, Translate], sources: Sequence[Sequence[int]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """CPU and wall ms of each contender, a median a round."""
    cpu_ms: dict[str, list[float]] = {name: [] for name in opened}
    wall_ms: dict[str, list[float]] = {name: [] for name in opened}
    for number in range(rounds):
        cpu: dict[str, list[float]] = {name: [] for name in opened}
        wall: dict[str, list[float]] = {name: [] for name in opened}
        for ids in sources:
            for name, run in opened.items():
                cpu_begin = time.process_time()
                wall_begin = time.perf_counter()
                run(ids)
                cpu[name].append((time.process_time() - cpu_begin) * 1e3)
                wall[name].append((time.perf_counter() - wall_begin) * 1e3)
        for name in opened:
            cpu_ms[name].append(statistics.median(cpu[name]))
            wall_ms[name].append(statistics.median(wall[name]))
        say(f"round {number + 1} of {rounds}")
    return cpu_ms, wall_ms


def probe_apart(
    model: str, name: str, folder: Path, options: argparse.Namespace
) -> dict[str, float]:
    """Load time and peak memory in a fresh process."""
    command = [sys.executable, __file__, "--probe", str(folder), "--name", name, "--models", model]
    command += ["--beam", str(options.beam), "--threads", str(options.threads)]
    command += ["--shortlist", str(options.shortlist)]
    command += ["--tiny"] if options.tiny else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def probe(options: argparse.Namespace) -> dict[str, float]:
    """(In the fresh process) open one contender, translate once; peak memory beyond what the
    imports took.
    """
    everybody = contenders(bool(options.shortlist))
    (contender,) = (x for x in everybody if x.name == options.name)
    task = task_of(options.models[0], options)
    task = task if contender.restricted else task.whole
    before_mib = peak_mib()
    run, load_s = timed(lambda: contender.open(task, options.probe))
    run(task.sentences()[0])
    return {"load_s": load_s, "peak_mib": peak_mib() - before_mib}


def profile(path: Path, task: Task) -> dict[str, float]:
    """Milliseconds a sentence of the twelve operators that take longest; the loop, which holds
    others, is left out.
    """
    sources = task.sentences()
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(path, task.workload.threads, f"{folder}/profile")
        for ids in sources:
            run_onnx(session, ids, task.num_steps, min_steps=task.num_steps)
        events = json.loads(Path(session.end_profiling()).read_text())
    total: dict[str, float] = {}
    for event in events:
        kind = event["args"].get("op_name")
        if event["name"].endswith("_kernel_time") and kind != "Loop":
            total[kind] = total.get(kind, 0.0) + event["dur"] / 1e3 / len(sources)
    return dict(sorted(total.items(), key=lambda item: -item[1])[:12])


def agreement(expected: Sequence[Sequence[int]], found: Sequence[Sequence[int]]) -> float:
    """Share of the tokens that are the same."""
    same = sum(
        a == b for x, y in zip(expected, found, strict=True) for a, b in zip(x, y, strict=False)
    )
    return same / sum(map(len, expected))


# -- saying it -------------------------------------------------------------------------------------


def table(outcome: Outcome) -> str:
    """Markdown."""
    machine = outcome.machine
    titles = "model, contender, CPU ms, wall ms, bound ms, x CT2 fp32, x CT2 int8"
    titles += ", x its vmap" if outcome.shortlist else ""
    titles = f"{titles}, torch's tokens, file MB, build s, load s, peak MiB".replace(", ", " | ")
    lines = [
        f"{machine.processor}, {machine.gigabytes_per_s:.0f} GB/s, {machine.gigaflops:.0f} GFLOP/s "
        f"with {outcome.threads} thread(s); beam {outcome.beam}; shortlist {outcome.shortlist}; "
        f"{outcome.rounds} rounds of "
        f"{NUM_SENTENCES} sentences\n",
        f"| {titles} |",
        "|---" * (titles.count("|") + 1) + "|",
    ]
    for row in outcome.rows:
        times = [f"{ms:.1f}" for ms in (row.cpu_ms, row.wall_ms, row.bound_ms)]
        ratios = [f"{row.x_fp32:.2f}", f"{row.x_int8:.2f}"]
        ratios += [f"{row.x_vmap:.2f}"] if row.x_vmap is not None else []
        ratios.append(f"{row.same_tokens:.0%}")
        files = [f"{row.file_bytes / 1e6:.2f}", f"{row.build_s:.2f}", f"{row.load_s:.2f}"]
        cells = [row.model, row.name, *times, *ratios, *files, f"{row.peak_mib:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
