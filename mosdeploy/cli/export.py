"""The verb `export`."""

from typing import TYPE_CHECKING

from ..printable import byte_size, figure_note, three_digits
from ..run_folder.options import ExportOptions
from .options import Common
from .printing import table, timing

if TYPE_CHECKING:
    from ..config.units import Statistic
    from ..pipeline.exporting.export_job import ExportResult
    from ..records import PrecisionChoice
    from ..run_folder.summaries import FormatSummary, RuntimeTiming


def export(common: Common, options: ExportOptions) -> None:
    """Build the bundle, and check that it answers as the network does."""
    from ..pipeline.export import export as build
    from ..pipeline.export import export_format
    from ..run_folder.status import next_command

    if options.format is not None:
        written = export_format(common.context(), options)
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
