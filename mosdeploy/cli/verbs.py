"""The verbs that take one call of the pipeline and show its result."""

import io
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ConfigError
from ..printable import (
    EMULATED,
    byte_size,
    duration,
    figure_note,
    kept,
    loss_mark,
    milliseconds,
    predicted,
    score,
    three_digits,
)
from ..recipes import list_recipes
from ..run_folder.options import (
    CompareOptions,
    DeployOptions,
    EvaluateOptions,
    ExportOptions,
    FinetuneOptions,
    FitOptions,
    InitOptions,
    PredictOptions,
    ProfileOptions,
    SearchOptions,
    TrainOptions,
    VerifyOptions,
)
from .options import Common
from .printing import (
    PROGRESS,
    card_line,
    kept_limits,
    rescaled_lines,
    table,
    tell,
    terminal_width,
    timing,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..config.units import Statistic
    from ..pipeline.exporting.export_job import ExportResult
    from ..records import Candidate, DryRun, PrecisionChoice, PredictorCard, SearchResult
    from ..run_folder.context import Context
    from ..run_folder.summaries import (
        Comparison,
        FormatSummary,
        NewRun,
        ProfileSummary,
        RuntimeTiming,
    )


MAX_FRONT_ROWS = 8
LARGER = (
    "* more layers or wider FFNs than one of lower loss, before which it is taken: a short "
    "training favours small ones"
)
CHART_FORMATS = ("html", "svg", "png")


def init(
    common: Common,
    options: InitOptions,
    second: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="With --train: the file of the other language."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help=f"Template: {', '.join(list_recipes())}.", show_default="tiny"),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="Device profile to name in it: local, rpi, or another of `devices list`.",
            show_default="none, which is this machine",
        ),
    ] = None,
) -> None:
    """Write a commented mosdeploy.toml, for your data or a template."""
    from ..pipeline.init import init as write
    from ..run_folder.summaries import NewRun

    if second is not None and not options.files:
        raise typer.BadParameter("FILE is about your data: add --train FILE")
    if second is not None:
        options = replace(options, train=(*options.files, second))
    new = write(common.directory, recipe, device, options, PROGRESS)
    text = _init_text(new) if isinstance(new, NewRun) else f"wrote {new.path}"
    common.show(new, text, "mosdeploy train")


def _init_text(new: "NewRun") -> str:
    estimate = new.estimate
    rows = [(verb, time, estimate.notes.get(verb, "")) for verb, time in estimate.expected.items()]
    facts = [f"{name:<11} {fact}" for name, fact in new.found.items()]
    then = table(("then", "takes here", "for"), rows)
    return "\n".join([*facts, f"wrote {new.path}", "", then, estimate.total])


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


def profile(common: Common, options: ProfileOptions) -> None:
    """Measure a few well-chosen subnets on the device.

    A rerun measures only what is missing or failed. Exit code 6 if --until-error is not reached.
    """
    from ..errors import PredictorError
    from ..pipeline.profile import profile as measure

    context = common.context()
    result = measure(context, options)
    is_trusted = bool(result.fastest_ms) and not (result.emulated or result.is_too_noisy)
    then = result.further_command or (context if is_trusted else None)
    common.show(result, _profile_text(result), then)
    if result.error_met is False:
        raise typer.Exit(PredictorError.exit_code)


def _profile_text(result: "ProfileSummary") -> str:
    counts = f"{result.measured_now} measured now, {result.num_records} in {result.path}"
    lines = [f"{result.device}: {counts}"]
    if result.failed:
        lines[0] += f", {result.failed} failed"
    if not result.emulated and result.fastest_ms and result.slowest_ms:
        lines.append(f"from {three_digits(result.fastest_ms)} to {milliseconds(result.slowest_ms)}")
    if result.card is not None:
        lines.append(f"predictor (cross-validated): {card_line(result.card)}")
        lines += rescaled_lines(result.card)
    if result.emulated:
        lines.append(f"{EMULATED}: nothing is fitted to these times, and no search takes them")
    if result.noise_floor_percent is not None:
        lines.append(
            f"noise floor: repeats of one subnet lie {result.noise_floor_percent:.2f}% from their "
            "median"
        )
    elif not result.emulated and result.fastest_ms:
        lines.append(
            "noise floor: not known, since the reference subnet could not be timed twice; whether "
            "the device was disturbed meanwhile is not known either"
        )
    if result.until_error_percent is not None:
        limit = f"{result.until_error_percent:g}% (over the subnets that the fit trusts)"
        met = f"an error of {limit} is reached"
        missed = f"the budget is spent; an error of {limit} is NOT reached twice in a row"
        lines.append(met if result.error_met else missed)
    return "\n".join(lines + _board_lines(result) + _noise_lines(result))


def _noise_lines(result: "ProfileSummary") -> list[str]:
    """Why the times mean nothing, and how to get better ones, if they are too far apart."""
    if not result.is_too_noisy:
        return []
    place = "this machine" if result.device == "local" else "the device"
    load = ""
    if result.load_1min is not None:
        load = f" (its load was up to {result.load_1min:.1f} on {result.cores or '?'} cores)"
    return [
        f"TOO NOISY: above {result.max_noise_percent:g}% neither the times nor the predictor can "
        "be trusted",
        f"most likely other programs run on {place}{load}: `top` shows them. Stop them, and run "
        "the same command with --renew",
    ]


def _board_lines(result: "ProfileSummary") -> list[str]:
    """The boards of a fleet: how many subnets, the reference and its ratio to the fleet's."""
    lines = []
    for board in result.boards:
        reference = ""
        if board.time_ratio is not None:
            ratio = f"{board.time_ratio:.3f} of the fleet's"
            reference = f", reference {milliseconds(board.reference_ms)}, {ratio}"
        lines.append(f"{board.host}: {board.num_subnets} subnets{reference}")
    return lines + [f"{host} failed: {cause}" for host, cause in result.failed_boards.items()]


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


def search(common: Common, options: SearchOptions) -> None:
    """Find the best subnet within limits, as measured on the device."""
    from ..pipeline.search import search as find

    result = find(common.context(), options)
    common.show(result, _search_text(result), "mosdeploy finetune")


def _search_text(result: "SearchResult") -> str:
    from ..search.front import front_members

    winner = result.winner
    body = ""
    if result.limits.max_body_parameters is not None:
        body = f", {winner.num_body_parameters:,} without the embedding table"
    memory = ""
    if result.limits.max_memory_bytes is not None:
        memory = f", {byte_size(winner.memory_bytes)} of memory"
        if winner.measured_memory_bytes is not None:
            memory += f" ({byte_size(winner.measured_memory_bytes)} measured)"
    time = ""
    if winner.time_loss is not None:
        time = f" with {winner.time_loss:+.4f} for the time of its training steps"
    lines = [
        f"winner {winner.arch.key}: {winner.arch}",
        f"  validation loss {winner.loss:.4f}{time}, {winner.num_parameters:,} parameters{body}"
        f"{memory}",
        f"  {result.num_evaluated:,} subnets evaluated",
    ]
    if winner.predicted_ms is not None:
        measured = "NOT measured (--no-verify): the limit is a prediction"
        if winner.measured_ms is not None:
            limit = kept(winner.measured_ms, result.limits.max_latency_ms, result.statistic)
            measured = f"measured {milliseconds(winner.measured_ms)} on the device{limit}"
        figure = figure_note(result.statistic)
        word = predicted(result.level)
        lines.append(f"  {word} {milliseconds(winner.predicted_ms)}{figure}, {measured}")
    return "\n".join([*lines, *_front(result, front_members(result))])


def _front(result: "SearchResult", front: "Sequence[Candidate]") -> list[str]:
    """A few members of the front, from the fastest to the best, if there are several."""
    if len(front) < 2:
        return []
    rows = min(len(front), MAX_FRONT_ROWS)
    numbers = sorted({round(i * (len(front) - 1) / (rows - 1)) for i in range(rows)})
    shown = [
        (
            i + 1,
            milliseconds(front[i].predicted_ms),
            milliseconds(front[i].measured_ms),
            f"{front[i].loss:.4f}{loss_mark(front[i].base_loss)}",
            f"{front[i].num_parameters:,}",
            front[i].arch,
        )
        for i in numbers
    ]
    figure = figure_note(result.statistic)
    times = (f"{predicted(result.level)}{figure}", f"measured{figure}")
    loss = "validation loss" + (", with time" if front[0].time_loss is not None else "")
    header = ("--pick", *times, loss, "parameters", "architecture")
    lines = ["the front: no other is as fast and as good as one of these", table(header, shown)]
    return [*lines, *([LARGER] if any(front[i].base_loss is not None for i in numbers) else [])]


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


def compare(
    common: Common,
    options: CompareOptions,
    chart: Annotated[
        Path | None,
        typer.Option(metavar="<path>", help="Draw them too: FILE.html, FILE.svg or FILE.png."),
    ] = None,
) -> None:
    """Time bundles by turns on one device, and score them. On the same examples, at most
    `export.score_examples` of them; nothing is deployed.
    """
    image = "" if chart is None else chart.suffix.lower().removeprefix(".")
    if chart is not None and image not in CHART_FORMATS:  # before anything is timed
        known = ", ".join(f".{x}" for x in CHART_FORMATS)
        raise ConfigError(f"--chart {chart}: its name must end in one of {known}")
    from ..pipeline.compare import compare as time_by_turns

    found = time_by_turns(common.context(), options)
    common.show(found, _compare_text(found))
    if chart is not None:  # last: where it cannot be written, the table stands
        from ..api.notebook import compare_chart
        from ..storage import atomic_write

        drawn = io.BytesIO() if image == "png" else io.StringIO()
        # a page with all scripts inside, for a browser without a network
        compare_chart(found).save(drawn, image, inline=image == "html")  # type: ignore[arg-type]
        atomic_write(chart, drawn.getvalue())


def _compare_text(found: "Comparison") -> str:
    first = found.bundles[0].measurement.total
    rows = []
    for bundle in found.bundles:
        total = bundle.measurement.total
        assert first is not None  # the pipeline raises where one was not timed
        assert total is not None
        rows.append(
            (
                bundle.name,
                f"{three_digits(total.median_ms)}{'*' if bundle.measurement.flagged else ''}",
                three_digits(total.p90_ms),
                f"{total.median_ms / first.median_ms:.2f}",
                byte_size(bundle.size_bytes),
                *(f"{value:.2f}" for value in bundle.metrics.values()),
            )
        )
    header = ("bundle", "ms", "p90", "to the first", "size", *found.bundles[0].metrics)
    lines = [table(header, rows), f"timed by turns on {found.device}, scored on {found.scored_on}"]
    if any(bundle.measurement.flagged for bundle in found.bundles):
        lines.append("* the device was not stable meanwhile: run it again when it does less else")
    return "\n".join(lines)


def predict(
    common: Common,
    options: PredictOptions,
    text: Annotated[
        list[str] | None, typer.Argument(help="Inputs; without any, all lines of stdin.")
    ] = None,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Inputs are objects with text, and text_pair.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Write vectors there (.npy).", show_default="print answers"),
    ] = None,
    time: Annotated[bool, typer.Option("--time", help="Tell on stderr where the time went.")] = (
        False
    ),
) -> None:
    """Answer lines of text with a bundle on this machine."""
    from ..pipeline.predict import check_vectors
    from ..pipeline.predict import predict as answer

    if not text and sys.stdin is None:
        raise ConfigError("stdin is closed, where the lines come from")
    lines = _input_lines(text, jsonl)
    if output is not None:
        check_vectors(common.directory, options.bundle, lines, output)
    done = answer(common.directory, lines, options, PROGRESS)
    if output is not None:
        written = done.write_vectors(output)
        shape = " x ".join(map(str, written.shape))
        common.show(written, f"{written.path}: {shape} numbers")
    elif done.outputs or common.as_json:
        common.show(done.record, "\n".join(done.outputs))
    if not PROGRESS.is_quiet and (notes := str(done.notes)):
        tell(notes)
    if time:
        tell(str(done.timing))


def _input_lines(text: list[str] | None, are_json: bool = False) -> list[str]:
    """The arguments, or the lines of stdin."""
    from ..runtime.errors import InputError
    from ..runtime.texts import decoded

    try:
        # an argument that was not UTF-8 holds surrogates, and cannot be encoded
        given = [line.encode() for line in text] if text else sys.stdin.buffer
        if not text and sys.stdin.isatty():
            PROGRESS.say("reading lines from the terminal; Ctrl-D, which ends them, answers them")
        return list(decoded(given, are_json))
    except UnicodeError as error:
        raise ConfigError(f"the input is not UTF-8: {error}") from error
    except InputError as error:
        raise ConfigError(str(error)) from error


def report(common: Common) -> None:
    """Write the report: one offline HTML page and a JSON."""
    from ..pipeline.report import report as write

    context = common.context()
    written = write(context)
    common.show(written.report, f"wrote {written.page} and {context.files.report_path}")
