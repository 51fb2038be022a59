"""The verb `export`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..printable import byte_size, figure_note, three_digits
from .options import BeamOption, DeviceCommon, PickOption, SearchedDeviceOption
from .printing import table, timing

if TYPE_CHECKING:
    from ..config.units import Statistic
    from ..pipeline.exporting.export_job import ExportResult
    from ..records import PrecisionChoice
    from ..run_folder.summaries import FormatSummary, RuntimeTiming


@dataclass(frozen=True)
class ExportArguments:
    """The options of `export`."""

    pick: PickOption = "winner"
    weights: Annotated[
        Literal["inherited", "finetuned", "teacher", "from-teacher", "scratch"] | None,
        typer.Option(
            metavar="NAME",
            help="inherited from the supernet; finetuned from there or from-teacher, or from "
            "scratch, as `finetune` trains; the teacher's own, with --pick largest.",
            show_default="the best by validation, but for scratch",
        ),
    ] = None
    precision: Annotated[
        Literal[
            "fp32",
            "fp32-int4-logits",
            "int8",
            "int8-fp32-embedding",
            "int8-int4-logits",
            "int4",
            "auto",
        ]
        | None,
        typer.Option(
            metavar="NAME",
            help="auto: the fastest on the device that keeps --max-score-drop; fp32, int8; of a "
            "translation fp32-int4-logits, int8-int4-logits, int4; of an encoder "
            "int8-fp32-embedding.",
            show_default="[export].precision, else the workload's",
        ),
    ] = None
    beam: BeamOption = None
    shortlist: Annotated[
        int | None,
        typer.Option(
            help="Translation: score only so many target tokens of each source token (50), and "
            "twice as many frequent ones; 0: the whole vocabulary.",
            min=0,
            show_default="[export].shortlist, else the workload's",
        ),
    ] = None
    max_score_drop: Annotated[
        float | None,
        typer.Option(
            "--max-score-drop",
            "--max-bleu-drop",
            help="Points of the first metric that the bundle may lose, of 100.",
            min=0,
            show_default="[export].max_score_drop",
        ),
    ] = None
    runtime: Annotated[
        Literal["onnxruntime", "tvm", "auto"],
        typer.Option(help="auto: build both, time both on the device, keep the faster."),
    ] = "onnxruntime"
    device: SearchedDeviceOption = None
    format: Annotated[
        Literal["optimum", "hf"] | None,
        typer.Option(
            help="Instead of a bundle, a folder that these libraries load (encoders).",
            show_default="a bundle",
        ),
    ] = None
    trim_vocabulary: Annotated[
        bool | None,
        typer.Option(
            help="Keep only the part of the vocabulary that the examples use (encoders).",
            show_default="[export].trim_vocabulary",
        ),
    ] = None


def export(common: DeviceCommon, arguments: ExportArguments) -> None:
    """Build the bundle, and check that it answers as the network does."""
    from ..pipeline.export import export as build
    from ..pipeline.export import export_format
    from ..pipeline.exporting.export_job import ExportOptions
    from ..run_folder.status import next_command

    options = ExportOptions(
        pick=arguments.pick,
        precision=arguments.precision,
        beam=arguments.beam,
        workload={} if arguments.shortlist is None else {"shortlist": arguments.shortlist},
        weights=arguments.weights,
        device=arguments.device,
        max_score_drop=arguments.max_score_drop,
        runtime=arguments.runtime,
        trim_vocabulary=arguments.trim_vocabulary,
    )
    if arguments.format is not None:
        written = export_format(common.context(), arguments.format, options)
        common.show(written, _format_text(written))
        return
    context = common.context()
    result = build(context, options)
    record = result.runtime_choice or result.manifest
    common.show(record, _text(result), next_command(context))


def _format_text(written: "FormatSummary") -> str:
    size = byte_size(written.size_bytes)
    return (
        f"{written.format} folder {written.path}: {size}, {written.precision}, {written.weights} "
        f"weights, {written.num_parameters:,} parameters"
    )


def _text(result: "ExportResult") -> str:
    manifest = result.manifest
    parity = manifest.parity
    lines = [_candidates(result.precision_choice)] if result.precision_choice else []
    size = byte_size(result.size_bytes)
    lines.append(f"bundle {result.path}: {size}, {manifest.precision}, {manifest.weights} weights")
    lines.append(
        f"parity: {parity.identical} of {parity.num_examples} answers identical, {parity.metric} "
        f"{parity.torch_score:.1f} in torch, {parity.bundle_score:.1f} in the bundle"
    )
    if parity.exact_score is not None:
        lines.append(
            f"shortlist: {parity.metric} {parity.torch_score:.2f} in torch, "
            f"{parity.exact_score:.2f} with the whole vocabulary"
        )
    choice = result.runtime_choice
    if choice is not None:
        figure = manifest.statistic
        lines += [f"{x.runtime} on {choice.device}: {_told(x, figure)}" for x in choice.timings]
    return "\n".join(lines)


def _candidates(choice: "PrecisionChoice") -> str:
    """A line for each precision that was compared."""
    head = (
        f"on {choice.device}, {choice.metric} on {choice.num_examples} validation examples "
        f"({choice.torch_score:.2f} in torch):"
    )
    rows = [
        (
            x.precision,
            "-" if x.latency_ms is None else three_digits(x.latency_ms),
            "-" if x.size_bytes is None else byte_size(x.size_bytes),
            "-" if x.score is None else f"{x.score:.2f}",
            x.verdict,
        )
        for x in choice.candidates
    ]
    figure = f"ms{figure_note(choice.statistic)}"
    return f"{head}\n{table(('precision', figure, 'size', choice.metric, 'verdict'), rows)}"


def _told(timed: "RuntimeTiming", statistic: "Statistic") -> str:
    found = timed.measurement
    return timing(found, statistic) if found else f"not timed: {timed.error}"
