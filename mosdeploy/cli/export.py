"""Verbs about bundles: export, deploy, translate."""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import pipeline
from ..errors import ConfigError
from .options import (
    HERE,
    SSH_CONFIG,
    ArchOption,
    DeviceOption,
    DirOption,
    HostOption,
    JsonOption,
    SshOption,
)
from .printing import EMULATED, kept, show
from .progress import PROGRESS

if TYPE_CHECKING:
    from ..pipeline.summaries import RuntimeTiming
    from ..records import PrecisionChoice, Runtime


def export(
    directory: DirOption = HERE,
    arch: ArchOption = "winner",
    weights: Annotated[
        str | None,
        typer.Option(
            help="inherited, finetuned or scratch; default: finetuned if there and better, else inherited."
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32, fp32-int4-logits, int8, int8-int4-logits, int4, or auto: the fastest on the device that keeps "
            "--max-bleu-drop; default: the config's."
        ),
    ] = None,
    beam: Annotated[
        int | None, typer.Option(help="Beam size; default: the workload's.", min=1)
    ] = None,
    max_score_drop: Annotated[
        float | None,
        typer.Option(help="Most BLEU that the bundle may lose; default: the config's.", min=0),
    ] = None,
    runtime: Annotated[
        str,
        typer.Option(
            help="onnxruntime, tvm, or auto: build both, time both on the device, keep the faster."
        ),
    ] = "onnxruntime",
    tune: Annotated[
        str | None,
        typer.Option(help="Time for TVM to search for faster schedules, over all runs: 30m."),
    ] = None,
    device: DeviceOption = None,
    ssh_config: SshOption = SSH_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Build the bundle, after checking that it translates as the trained network does."""
    from ..config.units import parse_budget_s

    if runtime not in ("onnxruntime", "tvm", "auto"):
        raise ConfigError(f"unknown runtime '{runtime}'; known: onnxruntime, tvm, auto")
    if tune is not None and runtime == "onnxruntime":
        raise ConfigError("--tune is about TVM; add --runtime tvm or --runtime auto")
    tune_s = parse_budget_s(tune) if tune is not None else 0.0
    run, record, timed = pipeline.open_run(directory), None, ""
    if runtime == "auto":
        options = (weights, device, max_score_drop, ssh_config, tune_s)
        result, record = pipeline.export_fastest(run, arch, precision, beam, PROGRESS, *options)
        timed = "".join(
            f"\n{timing.runtime} on {record.device}: {_time_or_error(timing)}"
            for timing in record.timings
        )
    else:
        chosen: Runtime = "tvm" if runtime == "tvm" else "onnxruntime"
        result = pipeline.export(
            run,
            arch,
            precision,
            beam,
            PROGRESS,
            weights,
            device,
            max_score_drop,
            ssh_config,
            chosen,
            tune_s,
        )
    parity = result.manifest.parity
    show(
        record or result.manifest,
        as_json,
        (_candidates(result.choice) if result.choice else "")
        + f"bundle {result.path}: {result.size_bytes / 2**20:.1f} MiB, {result.manifest.precision}, "
        f"{result.manifest.weights} weights\n"
        f"parity: {parity.identical} of {parity.num_pairs} translations identical, "
        f"BLEU {parity.torch_bleu:.1f} in torch, {parity.bundle_bleu:.1f} in the bundle" + timed,
        "mosdeploy deploy",
    )


def _candidates(choice: "PrecisionChoice") -> str:
    """A line for each precision that was weighed."""
    lines = [
        f"on {choice.device}, BLEU on {choice.num_pairs} validation pairs ({choice.torch_bleu:.2f} in torch):"
    ]
    for x in choice.candidates:
        latency = "-" if x.latency_ms is None else f"{x.latency_ms:.2f}"
        size, bleu = (
            ("-", "-") if x.size_bytes is None else (f"{x.size_bytes / 2**20:.1f}", f"{x.bleu:.2f}")
        )
        lines.append(
            f"  {x.precision:17} {latency:>9} ms {size:>7} MiB  BLEU {bleu:>5}  {x.verdict}"
        )
    return "\n".join(lines) + "\n"


def _time_or_error(timing: "RuntimeTiming") -> str:
    total = timing.measurement.total if timing.measurement else None
    return f"{total.median_ms:.2f} ms median" if total else f"not timed: {timing.error}"


def deploy(
    directory: DirOption = HERE,
    device: DeviceOption = None,
    host: HostOption = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle folder; default: the newest in bundles/.")
    ] = None,
    rollback: Annotated[
        bool,
        typer.Option("--rollback", help="Go back to the version that was on the device before."),
    ] = False,
    ssh_config: SshOption = SSH_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Put the bundle on the device, run its self-test there, measure it there, and only then switch
    to it.
    """
    run = pipeline.open_run(directory)
    if rollback and bundle:
        raise ConfigError("--rollback goes back to what the device holds; it takes no --bundle")
    if rollback:
        result = pipeline.roll_back(run, device, ssh_config, PROGRESS, host)
    else:
        result = pipeline.deploy(run, device, bundle, ssh_config, PROGRESS, host)
    total = result.measurement.total
    timing = f"{total.median_ms:.2f} ms median, {total.p90_ms:.2f} ms p90" if total else "not timed"
    limit = kept(total.median_ms if total else None, result.limit_ms)
    show(
        result,
        as_json,
        f"{result.bundle} on {host or result.device.name}:{result.remote_dir}: self-test passed, {timing}"
        + (f", {EMULATED}" if result.device.emulated else limit),
        "mosdeploy report",
    )


def translate(
    text: Annotated[
        list[str] | None, typer.Argument(help="Sentences; without any, lines from stdin.")
    ] = None,
    directory: DirOption = HERE,
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle folder; default: the newest in bundles/.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads to use.", min=1)] = None,
    as_json: JsonOption = False,
) -> None:
    """Translate with a bundle on this machine."""
    try:
        stdin = io.TextIOWrapper(sys.stdin.buffer, "utf-8", newline="\n")
        lines = list(text) if text else [line.rstrip("\r\n") for line in stdin]
        "\n".join(lines).encode()  # an argument that was not UTF-8 holds surrogates
    except UnicodeError as error:
        raise ConfigError(f"the text to translate is not UTF-8: {error}") from error
    done = pipeline.translate(directory, bundle, lines, threads)
    if done.translations or as_json:
        show(done, as_json, "\n".join(pair.output for pair in done.translations))
