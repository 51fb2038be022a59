"""The verbs that take one call of the pipeline and show its result."""

import shlex
from typing import TYPE_CHECKING

import typer

from ..printable import EMULATED, score
from ..run_folder.options import (
    DeployOptions,
    EvaluateOptions,
    FinetuneOptions,
    FitOptions,
    VerifyOptions,
)
from .options import Common
from .printing import card_line, kept_limits, rescaled_lines, table, terminal_width, timing

if TYPE_CHECKING:
    from ..records import PredictorCard


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
    from ..run_folder.status import next_command

    context = common.context()
    card = fit_predictor(context, options)
    text = f"{card.device}-{card.workload}: {card_line(card)}{_transfer(card)}"
    lines = [text, *rescaled_lines(card)]
    common.show(card, "\n".join(lines), next_command(context))


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
    from ..run_folder.status import next_command
    from ..run_folder.subnets import losses_of

    context = common.context()
    card = train_alone(context, options)
    command = "mosdeploy export"
    if options.pick != "winner":
        command += f" --pick {shlex.quote(str(options.pick))}"
    if options.from_scratch:
        command += f" --weights {card.weights}"
    if options.pick == "winner" and not options.from_scratch:
        command = next_command(context) or command
    text = f"{card.weights} {card.arch.key}: {card.steps} steps, {losses_of(card)}"
    # what has no answers has no bundle
    common.show(card, text, command if context.config.gives_answers else None)


def evaluate(common: Common, options: EvaluateOptions) -> None:
    """Score subnets on the test examples.

    Inherited ones, those that were trained alone, and the teacher. The same command resumes.
    """
    from ..pipeline.evaluate import evaluate as score_subnets
    from ..run_folder.status import next_command

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
    common.show(scores, table(header, rows), next_command(context))


def deploy(common: Common, options: DeployOptions) -> None:
    """Put the bundle on the device, test and time it, then switch."""
    from ..pipeline.deploy import deploy as put
    from ..run_folder.status import next_command

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
    common.show(result, f"{text}, {timed}{note}", next_command(context))


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
