"""How fast one sentence is translated, by PyTorch, CTranslate2 and each of our precisions, with the
same weights.

    pip install 'mosdeploy[bench]'
    python benchmarks/translation_speed.py --json --beam 1

Batch 1, 30 source tokens, 30 decode steps, two uniform pre-norm models: `sub` (6+2 layers) and
`base` (6+6), d 512, FFN 2048, 8 heads, vocabulary 32,000. The weights are random, but such that the
translation changes from step to step and never ends early: fresh ones repeat a token, and would
hide a wrong cache. Contenders take turns on each sentence, so that a disturbance meets all; figures
are medians, ratios are medians of each round's ratio.

Beside each stands a bound: the encoder's products at the processor's peak, and in each step the
decoder's weights once from memory or its products at that peak, whichever takes longer. Both are
measured with torch in fp32; an int8 product counts a quarter, as with VNNI. Weights that stay in
the processor's cache can beat it. The machine should do nothing else. Writes
translation_speed-beamK-threadsN.json beside this script.
"""

import argparse
import importlib.metadata
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from speed_contenders import (
    EOS_ID,
    Onnx,
    RuntimeCandidate,
    Task,
    Translate,
    candidates,
    open_session,
)

from mosdeploy.export.quantize import SCHEMES, matrix_bytes, table_bytes
from mosdeploy.families.translation.network import Subnet
from mosdeploy.record import Record
from mosdeploy.spaces.translation import TranslationSpace
from mosdeploy.storage import write_record

HERE = Path(__file__).parent
PACKAGES = ("torch", "onnxruntime", "ctranslate2", "apache-tvm", "numpy")
SIZES = {"sub": 2, "base": 6}  # decoder layers
SENTENCES = 5


class Row(Record):
    """One candidate on one model. `x_fp32` and `x_int8`: how many times as fast as CTranslate2's,
    by CPU time.
    """

    model: str
    name: str
    cpu_ms: float
    wall_ms: float
    bound_ms: float
    x_fp32: float
    x_int8: float
    same_tokens: float
    file_bytes: int
    build_s: float
    load_s: float
    peak_mib: float
    profile_ms: dict[str, float] | None


class Machine(Record):
    """What the bound is made of."""

    processor: str
    gigabytes_per_s: float
    gigaflops: float


class Outcome(Record):
    """What the JSON holds; times are of the whole call, a sentence."""

    command: str
    versions: dict[str, str]
    machine: Machine
    beam: int
    threads: int
    rounds: int
    rows: tuple[Row, ...]


def main() -> None:
    """Measure, print, keep the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--beam", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--rounds", type=int, default=10, help="at least 5 for a figure worth keeping"
    )
    parser.add_argument("--models", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument(
        "--only",
        nargs="+",
        default=None,
        help="candidates by name; PyTorch and CTranslate2 always run",
    )
    parser.add_argument(
        "--profile", action="store_true", help="add the time of each operator of our precisions"
    )
    parser.add_argument(
        "--tiny", action="store_true", help="toy models, to try the script: figures mean nothing"
    )
    parser.add_argument("--json", action="store_true", help="print the JSON instead of the table")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--probe", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--name", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.probe:
        print(json.dumps(probe(options)))
        return
    machine = measure_machine()
    rows = [row for model in options.models for row in compare(model, options, machine)]
    outcome = Outcome(
        command=" ".join(["python", "benchmarks/translation_speed.py", *sys.argv[1:]]),
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
        machine=machine,
        beam=options.beam,
        threads=options.threads,
        rounds=options.rounds,
        rows=tuple(rows),
    )
    out = (
        options.out or HERE / f"translation_speed-beam{options.beam}-threads{options.threads}.json"
    )
    write_record(out, outcome)
    print(outcome.model_dump_json() if options.json else table(outcome))


def version(package: str) -> str:
    """Installed version, or a dash."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "-"


# -- the models ------------------------------------------------------------------------------------
# --------------------


def make_task(model: str, options: argparse.Namespace) -> Task:
    """The space of the one architecture, and the task."""
    dim, ffn_dim, vocab_size, depth = (64, 128, 500, 1) if options.tiny else (512, 2048, 32_000, 6)
    space = TranslationSpace(
        encoder_embed_dim=(dim,),
        decoder_embed_dim=(dim,),
        encoder_layers=(depth,),
        decoder_layers=(min(depth, SIZES[model]),),
        encoder_ffn_dim=(ffn_dim,),
        decoder_ffn_dim=(ffn_dim,),
        encoder_heads=(8,),
        decoder_self_heads=(8,),
        decoder_cross_heads=(8,),
        qkv_dim=dim,
        norm="pre",
    )
    return Task(space, vocab_size, options.beam, source_len=30, steps=30, threads=options.threads)


@torch.no_grad()
def lively_subnet(task: Task) -> Subnet:
    """Weights whose translations change from step to step.

    Norms of random sign break the tie of input and output embedding, sharp attention makes
    positions count, and the end token lies opposite to the last norm's shift, so that it is never
    likely.
    """
    generator = torch.Generator().manual_seed(0)
    subnet = Subnet(task.space.largest, task.space, task.vocab_size).eval()
    for name, weight in subnet.named_parameters():
        scale = (
            1.0 if "norm.weight" in name else 0.1 if weight.dim() == 1 else weight.shape[1] ** -0.5
        )
        scale *= 3.0 if name.endswith(("q.weight", "k.weight")) else 1.5 if "fc" in name else 1.0
        weight.copy_(scale * torch.randn(weight.shape, generator=generator))
    assert subnet.decoder.norm is not None
    subnet.decoder.norm.bias.mul_((512 / len(subnet.decoder.norm.bias)) ** 0.5)
    subnet.embed.weight[EOS_ID] = -subnet.decoder.norm.bias
    return subnet


def sentences(task: Task) -> list[list[int]]:
    """Random sources."""
    rng = np.random.default_rng(1)
    return [
        rng.integers(4, task.vocab_size, task.source_len - 1).tolist() for _ in range(SENTENCES)
    ]


# -- measuring -------------------------------------------------------------------------------------
# --------------------


def compare(model: str, options: argparse.Namespace, machine: Machine) -> list[Row]:
    """Build all, let them take turns, and measure each once more in a process of its own."""
    task = make_task(model, options)
    subnet, sources = lively_subnet(task), sentences(task)
    chosen = [
        c
        for c in candidates()
        if not options.only or c.name in options.only or not isinstance(c, Onnx)
    ]
    with tempfile.TemporaryDirectory() as name:
        folders = {candidate.name: Path(name) / candidate.name for candidate in chosen}
        build_s, opened = {}, {}
        for candidate in chosen:
            folders[candidate.name].mkdir()
            build_s[candidate.name] = timed(
                lambda c=candidate: c.build(subnet, task, folders[c.name])
            )[1]
            opened[candidate.name] = candidate.open(task, folders[candidate.name])
            say(f"{model}: built {candidate.name} in {build_s[candidate.name]:.1f} s")
        answers = {name: [run(ids) for ids in sources] for name, run in opened.items()}
        check(answers["PyTorch eager"], task)
        cpu_ms, wall_ms = take_turns(opened, sources, options.rounds)
        probes = {c.name: probe_apart(model, c, folders[c.name], options) for c in chosen}
        profiles = {
            c.name: profile(folders[c.name] / "model.onnx", task, sources)
            for c in chosen
            if options.profile and isinstance(c, Onnx)
        }
        sizes = {name: model_bytes(folder) for name, folder in folders.items()}
    return [
        Row(
            model=model,
            name=name,
            cpu_ms=statistics.median(cpu_ms[name]),
            wall_ms=statistics.median(wall_ms[name]),
            bound_ms=bound_ms(candidate.width, subnet, task, machine),
            x_fp32=ratio(cpu_ms["CTranslate2 fp32"], cpu_ms[name]),
            x_int8=ratio(cpu_ms["CTranslate2 int8"], cpu_ms[name]),
            same_tokens=agreement(answers["PyTorch eager"], answers[name]),
            file_bytes=sizes[name],
            build_s=build_s[name],
            load_s=probes[name]["load_s"],
            peak_mib=probes[name]["peak_mib"],
            profile_ms=profiles.get(name),
        )
        for name, candidate in ((c.name, c) for c in chosen)
    ]


def model_bytes(folder: Path) -> int:
    """Size of the model; CTranslate2's lists of pieces, which the others leave to the tokenizer,
    are not counted.
    """
    return sum(file.stat().st_size for file in folder.iterdir() if file.suffix != ".json")


def check(answers: Sequence[Sequence[int]], task: Task) -> None:
    """Stop if the answers would hide a wrong cache, or ended early."""
    if (
        any(len(ids) != task.steps or len(set(ids)) < 5 for ids in answers)
        or len(set(map(tuple, answers))) == 1
    ):
        sys.exit(f"the weights are not lively enough: {answers}")


def take_turns(
    opened: dict[str, Translate], sources: Sequence[Sequence[int]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """CPU and wall ms of each candidate, a median a round."""
    cpu_ms: dict[str, list[float]] = {name: [] for name in opened}
    wall_ms: dict[str, list[float]] = {name: [] for name in opened}
    for number in range(rounds):
        cpu: dict[str, list[float]] = {name: [] for name in opened}
        wall: dict[str, list[float]] = {name: [] for name in opened}
        for ids in sources:
            for name, run in opened.items():
                begin = time.process_time(), time.perf_counter()
                run(ids)
                cpu[name].append((time.process_time() - begin[0]) * 1e3)
                wall[name].append((time.perf_counter() - begin[1]) * 1e3)
        for name in opened:
            cpu_ms[name].append(statistics.median(cpu[name]))
            wall_ms[name].append(statistics.median(wall[name]))
        say(f"round {number + 1} of {rounds}")
    return cpu_ms, wall_ms


def probe_apart(
    model: str, candidate: RuntimeCandidate, folder: Path, options: argparse.Namespace
) -> dict[str, float]:
    """Load time and peak memory in a fresh process."""
    command = [
        sys.executable,
        __file__,
        "--probe",
        str(folder),
        "--name",
        candidate.name,
        "--models",
        model,
    ]
    command += [
        "--beam",
        str(options.beam),
        "--threads",
        str(options.threads),
        *(["--tiny"] if options.tiny else []),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def probe(options: argparse.Namespace) -> dict[str, float]:
    """(In the fresh process) open one candidate, translate once; peak memory beyond what the
    imports took.
    """
    (candidate,) = (c for c in candidates() if c.name == options.name)
    task, before = make_task(options.models[0], options), peak_mib()
    run, load_s = timed(lambda: candidate.open(task, options.probe))
    run(sentences(task)[0])
    return {"load_s": load_s, "peak_mib": peak_mib() - before}


def peak_mib() -> float:
    """Largest resident size of this process so far."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def profile(path: Path, task: Task, sources: Sequence[Sequence[int]]) -> dict[str, float]:
    """Milliseconds a sentence of the twelve operators that take longest; the loop, which holds
    others, is left out.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(path, task.threads, f"{folder}/profile")
        steps = np.array(task.steps)
        for ids in sources:
            feed = {
                "source_ids": np.array([[*ids, EOS_ID]]),
                "max_steps": steps,
                "min_steps": steps,
            }
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text())
    total: dict[str, float] = {}
    for event in events:
        kind = event["args"].get("op_name")
        if event["name"].endswith("_kernel_time") and kind != "Loop":
            total[kind] = total.get(kind, 0.0) + event["dur"] / 1e3 / len(sources)
    return dict(sorted(total.items(), key=lambda item: -item[1])[:12])


def ratio(reference_ms: Sequence[float], measured_ms: Sequence[float]) -> float:
    """Median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(reference_ms, measured_ms, strict=True))


def agreement(expected: Sequence[Sequence[int]], found: Sequence[Sequence[int]]) -> float:
    """Share of the tokens that are the same."""
    same = sum(
        a == b for x, y in zip(expected, found, strict=True) for a, b in zip(x, y, strict=False)
    )
    return same / sum(map(len, expected))


# -- the bound -------------------------------------------------------------------------------------
# --------------------


def measure_machine() -> Machine:
    """Memory bandwidth of a dot product that fits no cache, and FLOP/s of a matrix product; best of
    several.
    """
    x, a = torch.ones(2**27), torch.ones(1024, 1024)
    read_s = min(timed(lambda: x.dot(x))[1] for _ in range(5))
    product_s = min(timed(lambda: a @ a)[1] for _ in range(10))
    info = Path("/proc/cpuinfo").read_text().split("model name")[1].split("\n")[0].strip("\t: ")
    return Machine(
        processor=info,
        gigabytes_per_s=4 * 2**27 / read_s / 1e9,
        gigaflops=2 * 1024**3 / product_s / 1e9,
    )


def bound_ms(width: str, subnet: Subnet, task: Task, machine: Machine) -> float:
    """No way of computing it in this width can be faster."""
    arch, dim, q = subnet.arch, subnet.arch.decoder_embed_dim, task.space.qkv_dim
    scheme = SCHEMES["int8-int4-logits" if width == "int8" else width]  # type: ignore[index]
    layers = [(dim, 3 * q), (q, dim), (dim, q), (q, dim)]
    shapes = [
        shape
        for x in arch.decoder_layers
        for shape in (*layers, (dim, x.ffn_dim), (x.ffn_dim, dim))
    ]
    step_bytes = sum(matrix_bytes(*shape, scheme.step) for shape in shapes)
    step_bytes += table_bytes(task.vocab_size, dim, scheme.table) // (1 if width == "fp32" else 2)
    step_macs = sum(a * b for a, b in shapes) + task.vocab_size * dim
    encoder_macs = (
        sum(4 * dim * q + 2 * dim * x.ffn_dim for x in arch.encoder_layers) * task.source_len
    )
    encoder_macs += 2 * dim * q * len(arch.decoder_layers) * task.source_len
    macs_per_s = machine.gigaflops / 2 * 1e9 * (1 if width == "fp32" else 4)
    step_s = max(step_bytes / machine.gigabytes_per_s / 1e9, task.beam * step_macs / macs_per_s)
    return (encoder_macs / macs_per_s + task.steps * step_s) * 1e3


# -- saying it -------------------------------------------------------------------------------------
# --------------------


def timed(work: Callable[[], object]) -> tuple[object, float]:
    """What it gives, and how many seconds it took."""
    begin = time.perf_counter()
    return work(), time.perf_counter() - begin


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def table(outcome: Outcome) -> str:
    """Markdown."""
    machine = outcome.machine
    titles = "model, candidate, CPU ms, wall ms, bound ms, x CT2 fp32, x CT2 int8, torch's tokens, file MB, build s, load s"
    header = [*titles.split(", "), "peak MiB"]
    lines = [
        f"{machine.processor}, {machine.gigabytes_per_s:.0f} GB/s, {machine.gigaflops:.0f} GFLOP/s with "
        f"{outcome.threads} thread(s); beam {outcome.beam}; {outcome.rounds} rounds of {SENTENCES} sentences\n",
        f"| {' | '.join(header)} |",
        "|---" * len(header) + "|",
    ]
    for row in outcome.rows:
        times = [
            f"{row.cpu_ms:.1f}",
            f"{row.wall_ms:.1f}",
            f"{row.bound_ms:.1f}",
            f"{row.x_fp32:.2f}",
            f"{row.x_int8:.2f}",
        ]
        files = [
            f"{row.file_bytes / 1e6:.2f}",
            f"{row.build_s:.2f}",
            f"{row.load_s:.2f}",
            f"{row.peak_mib:.0f}",
        ]
        lines.append(
            f"| {' | '.join([row.model, row.name, *times, f'{row.same_tokens:.0%}', *files])} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
