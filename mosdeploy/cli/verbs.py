"""The verbs that take one call of the pipeline and show its result."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from ..printable import EMULATED, byte_size, duration, figure_note, score, three_digits
from ..run_folder.options import (
    DeployOptions,
    EvaluateOptions,
    ExportOptions,
    FinetuneOptions,
    FitOptions,
    TrainOptions,
    VerifyOptions,
)
from .options import Common
from .printing import card_line, kept_limits, rescaled_lines, table, terminal_width, timing

if TYPE_CHECKING:
    from ..config.units import Statistic
    from ..pipeline.exporting.export_job import ExportResult
    from ..records import DryRun, PrecisionChoice, PredictorCard
    from ..run_folder.context import Context
    from ..run_folder.summaries import FormatSummary, RuntimeTiming


def status(common: Common) -> None:
    """Show what the run folder holds, what is stale, what to run next."""
    from ..run_folder.status import status as look

    found = look(common.context())
    rows = [
        (x.what, x.name, x.state, x.detail or (x.command and f"run `{x.command}`") or "")
        for x in found.parts
    ]
    text = table(("what", "of", "state", "details"), rows, terminal_width())
    if any(x.what == "data" and x.state == "stale" for x in found.parts):
        text += "\nfirst mend the data: every command reads it"
    common.show(found, text, found.next_command)


def fit(common: Common, options: FitOptions) -> None:
    """Fit the latency predictor to what was measured. `profile` and `search` do this too."""
    from ..pipeline.profile import fit as fit_predictor

    context = common.context()
    card = fit_predictor(context, options)
    text = f"{card.device}-{card.workload}: {card_line(card)}{_transfer(card)}"
    lines = [text, *rescaled_lines(card)]
    common.show(card, "\n".join(lines), context)


def _transfer(card: "PredictorCard") -> str:
    trial = card.transfer
    if trial is None:
        return ""
    scratch = "too few subnets"
    if trial.scratch_percent is not None:
        scratch = f"{trial.scratch_percent:.2f}%"
    used = f"corrected from {trial.source}"
    if not trial.used:
        used = f"fitted from scratch, not from {trial.source}"
    return (
        f"\n{used}: error {trial.error_percent:.2f}%, from scratch {scratch} (best nine tenths, "
        "held out)"
    )


def finetune(common: Common, options: FinetuneOptions) -> None:
    """Train one subnet alone, from its inherited weights. The same command resumes."""
    from ..pipeline.finetune import finetune as train_alone
    from ..run_folder.subnets import losses_of

    context = common.context()
    card = train_alone(context, options)
    then: str | Context = context
    if options.pick != "winner" or options.from_scratch:
        then = "mosdeploy export"
        then += f" --pick {shlex.quote(str(options.pick))}" if options.pick != "winner" else ""
        then += f" --weights {card.weights}" if options.from_scratch else ""
    text = f"{card.weights} {card.arch.key}: {card.steps} steps, {losses_of(card)}"
    # what has no answers has no bundle
    common.show(card, text, then if context.config.gives_answers else None)


def evaluate(common: Common, options: EvaluateOptions) -> None:
    """Score subnets on the test examples.

    Inherited ones, those that were trained alone, and the teacher. The same command resumes.
    """
    from ..pipeline.evaluate import evaluate as score_subnets

    context = common.context()
    scores = score_subnets(context, options)
    metrics = list(dict.fromkeys(name for x in scores.subnets.values() for name in x.metrics))
    rows = [
        (
            name,
            *(score(x.metrics[metric]) for metric in metrics),
            f"{x.loss:.3f}",
            f"{x.num_parameters:,}",
        )
        for name, x in scores.subnets.items()
    ]
    header = ("subnet", *metrics, "validation loss", "parameters")
    common.show(scores, table(header, rows), context)


def deploy(common: Common, options: DeployOptions) -> None:
    """Put the bundle on the device, test and time it, then switch."""
    from ..pipeline.deploy import deploy as put

    context = common.context()
    result = put(context, options)
    place = f"{(options.device or '').partition('@')[2] or result.device.name}:{result.remote_dir}"
    text = f"{result.bundle} on {place}: self-test passed"
    note = f", {EMULATED}"
    if not result.device.emulated:
        note = kept_limits(
            result.measurement, result.statistic, result.limit_ms, result.max_memory_bytes
        )
    timed = timing(result.measurement, result.statistic)
    common.show(result, f"{text}, {timed}{note}", context)


def verify(common: Common, options: VerifyOptions) -> None:
    """Time what is deployed on the device. Exit code 7 if it does not keep its limits."""
    from ..errors import InfeasibleError
    from ..pipeline.verify import verify as time_again

    result = time_again(common.context(), options)
    of = result.deployment
    limit = kept_limits(result.measurement, of.statistic, result.limit_ms, result.max_memory_bytes)
    place = f"{(options.device or '').partition('@')[2] or of.device.name}:{of.remote_dir}"
    timed = timing(result.measurement, of.statistic)
    common.show(result, f"{of.bundle} on {place}: self-test passed, {timed}{limit}")
    if not result.kept:
        raise typer.Exit(InfeasibleError.exit_code)


def report(common: Common) -> None:
    """Write the report: one offline HTML page and a JSON."""
    from ..pipeline.report import report as write

    context = common.context()
    written = write(context)
    common.show(written.report, f"wrote {written.page} and {context.files.report_path}")


def train(
    common: Common,
    options: TrainOptions,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Train nothing: print parameters, memory and the time of a step."
        ),
    ] = False,
) -> None:
    """Train the supernet. The same command resumes."""
    context = common.context()
    if dry_run:
        from ..pipeline.train import dry_run as try_training

        tried = try_training(context, options)
        time = "" if options.time is None else f" --time {options.time}"
        again = f"mosdeploy train{time}"
        common.show(tried, _cost_table(tried), again)
        return
    from ..pipeline.train import train as train_supernet

    card = train_supernet(context, options)
    common.show(
        card,
        f"supernet: {card.steps} steps, validation loss {card.largest_loss:.3f} (largest subnet), "
        f"{card.smallest_loss:.3f} (smallest)",
        context,
    )


def _cost_table(tried: "DryRun") -> str:
    """What a dry run found, a line a way to share weights."""
    rows = []
    for name, cost in tried.costs.items():
        sizes = (cost.parameters_bytes, cost.optimizer_bytes, cost.peak_bytes)
        rows.append(
            (
                name,
                f"{cost.num_parameters:,}",
                *map(byte_size, sizes),
                f"{cost.step_s * 1000:,.0f}",
                f"{cost.step_s / tried.costs['none'].step_s:.2f}",
            )
        )
    header = ("supernet", "parameters", "size", "optimiser", "peak", "ms a step", "to none")
    cost = tried.costs["configured"]
    teacher = ""
    if tried.teacher_steps:
        took = duration(tried.teacher_s)
        teacher = f"\nteacher: {tried.teacher_steps:,} steps before that, about {took}"
    return (
        f"{table(header, rows)}\nconfigured: {tried.steps:,} steps of {cost.num_targets:,} "
        f"targets, {tried.steps * cost.num_targets / 1e6:,.1f} million in all, about "
        f"{duration(tried.steps * cost.step_s)} with one process here{teacher}"
    )


def export(common: Common, options: ExportOptions) -> None:
    """Build the bundle, and check that it answers as the network does."""
    from ..pipeline.export import export as build
    from ..pipeline.export import export_format

    if options.format is not None:
        written = export_format(common.context(), options)
        common.show(written, _format_text(written))
        return
    context = common.context()
    result = build(context, options)
    record = result.runtime_choice or result.manifest
    common.show(record, _export_text(result), context)


def _format_text(written: "FormatSummary") -> str:
    size = byte_size(written.size_bytes)
    return (
        f"{written.format} folder {written.path}: {size}, {written.precision}, {written.weights} "
        f"weights, {written.num_parameters:,} parameters"
    )


def _export_text(result: "ExportResult") -> str:
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
