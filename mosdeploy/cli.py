"""The command line: parse, call the pipeline, print, exit code. The only file that prints.

Results go to stdout; progress and messages go to stderr. `--json` prints one record and nothing else.
"""

import io
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import __version__, pipeline
from .errors import ConfigError, MosdeployError
from .recipes import list_recipes

if TYPE_CHECKING:
    from .records import Limits, PredictorCard, ProfileSummary
    from .schema import Record

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Fit a Transformer into a latency budget on a real device.\n\n"
    "**init, train, profile, search, export, deploy, report**; all in the folder of `mosdeploy.toml`.",
)
devices_app = typer.Typer(no_args_is_help=True, help="List, show, check and set up devices.")
app.add_typer(devices_app, name="devices")
latency_app = typer.Typer(no_args_is_help=True, help="Latencies that others measured.")
app.add_typer(latency_app, name="latency")

DirOption = Annotated[Path, typer.Option("--dir", "-C", help="Run folder (holds mosdeploy.toml).")]
DeviceOption = Annotated[str | None, typer.Option("--device", help="Device profile, e.g. local, rpi.")]
SshOption = Annotated[Path, typer.Option("--ssh-config", help="ssh_config file with the device's alias.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON record on stdout.")]

HERE = Path()
INTERRUPTED = 130
SSH_CONFIG = Path("~/.ssh/config")


class Progress:
    """Bars with ETA on a terminal, plain lines every few seconds in a pipe; all on stderr."""

    def __init__(self) -> None:
        self._tty = sys.stderr.isatty()
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._last_line = 0.0

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Show that `done` of `total` steps of a stage are over."""
        if self._tty:
            self._update_bar(stage, done, total, note)
        elif done >= total or time.monotonic() - self._last_line > 5:
            self._last_line = time.monotonic()
            print(f"{stage}: {done}/{total} {note}".rstrip(), file=sys.stderr, flush=True)

    def say(self, message: str) -> None:
        """Print one line about what happens now."""
        self.close()
        print(message, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the bars as they stand."""
        if self._bars is not None:
            self._bars.stop()
            self._bars, self._tasks = None, {}

    def _update_bar(self, stage: str, done: int, total: int, note: str) -> None:
        from rich import progress as bars
        from rich.console import Console

        if self._bars is None:
            self._bars = bars.Progress(
                bars.TextColumn("{task.description}"),
                bars.BarColumn(),
                bars.MofNCompleteColumn(),
                bars.TimeRemainingColumn(),
                bars.TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._bars.start()
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total, note=note)
        self._bars.update(self._tasks[stage], completed=done, total=total, note=note)


PROGRESS = Progress()


# -- the walk ------------------------------------------------------------------------------------------------------


@app.command()
def init(
    directory: DirOption = HERE,
    recipe: Annotated[str, typer.Option(help="Template: " + ", ".join(list_recipes()) + ".")] = "tiny",
    device: DeviceOption = None,
) -> None:
    """Write a commented mosdeploy.toml."""
    path = pipeline.init(directory, recipe, device)
    _done(f"wrote {path}", "mosdeploy train")


@app.command()
def train(directory: DirOption = HERE, as_json: JsonOption = False) -> None:
    """Train the supernet; the same command resumes after a kill."""
    card = pipeline.train(pipeline.open_run(directory), PROGRESS)
    _show(
        card,
        as_json,
        f"supernet: {card.updates} updates, validation loss {card.largest_loss:.3f} (largest subnet), "
        f"{card.smallest_loss:.3f} (smallest)",
        "mosdeploy profile",
    )


@app.command()
def profile(
    directory: DirOption = HERE,
    device: DeviceOption = None,
    budget: Annotated[int | None, typer.Option(help="Subnets to measure in all.", min=4)] = None,
    until_error: Annotated[
        str | None, typer.Option(help="Stop measuring once the predictor errs less: 2%. The budget still bounds it.")
    ] = None,
    ssh_config: SshOption = SSH_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Measure a few well-chosen subnets on the device; a rerun measures only what is missing."""
    from .config import parse_percent

    until_percent = parse_percent(until_error) if until_error is not None else None
    result = pipeline.profile(pipeline.open_run(directory), device, budget, ssh_config, PROGRESS, until_percent)
    text = f"{result.device}: {result.measured_now} measured now, {result.num_records} in {result.path}"
    if result.failed:
        text += f", {result.failed} failed"
    if result.card is not None:
        text += f"\npredictor (cross-validated): {_card_line(result.card)}"
    if result.floor_percent is not None:
        text += f"\nfloor: repeats of one subnet lie {result.floor_percent:.2f}% from their median"
    text += _until(result)
    _show(result, as_json, text, "mosdeploy search --max-latency 150ms")


@app.command()
def fit(
    directory: DirOption = HERE,
    device: DeviceOption = None,
    source: Annotated[
        str | None,
        typer.Option("--from", help="Correct this device's predictor; five measurements are enough for that."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fit the latency predictor to what was measured (profile and search do this by themselves)."""
    card = pipeline.fit(pipeline.open_run(directory), device, source)
    text = f"{card.device}-{card.workload}: {_card_line(card)}{_transfer(card)}"
    _show(card, as_json, text, "mosdeploy search --max-latency 150ms")


@app.command()
def search(
    directory: DirOption = HERE,
    device: DeviceOption = None,
    max_latency: Annotated[str | None, typer.Option(help="Latency limit with its unit: 150ms, 3.5s.")] = None,
    max_parameters: Annotated[str | None, typer.Option(help="Parameter limit: 4M, 3500000.")] = None,
    max_size: Annotated[str | None, typer.Option(help="Bundle size limit: 12MiB.")] = None,
    verify: Annotated[bool, typer.Option(help="Measure the finalists on the device.")] = True,
    ssh_config: SshOption = SSH_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Find the best subnet within the limits and measure the finalists on the device."""
    from .config import parse_count, parse_duration_ms
    from .records import Limits

    limits = Limits(
        max_latency_ms=parse_duration_ms(max_latency) if max_latency is not None else None,
        max_parameters=parse_count(max_parameters) if max_parameters is not None else None,
        max_size_bytes=parse_count(max_size) if max_size is not None else None,
    )
    result = pipeline.search(pipeline.open_run(directory), device, limits, verify, ssh_config, PROGRESS)
    winner = result.winner
    lines = [
        f"winner {winner.arch.key}: {winner.arch}",
        f"  validation loss {winner.loss:.4f}, {winner.num_parameters:,} parameters",
    ]
    if winner.predicted_ms is not None:
        lines.append(f"  predicted {winner.predicted_ms:.2f} ms, " + _measured(winner.measured_ms, result.limits))
    _show(result, as_json, "\n".join(lines), "mosdeploy export")


@app.command()
def evaluate(
    directory: DirOption = HERE,
    arch: Annotated[
        list[str] | None,
        typer.Option(help="largest, smallest, winner, or a JSON file with an architecture; repeatable."),
    ] = None,
    beam: Annotated[int | None, typer.Option(help="Beam size; default: the workload's.", min=1)] = None,
    as_json: JsonOption = False,
) -> None:
    """Translate the test set with inherited subnets: BLEU and chrF."""
    table = pipeline.evaluate(pipeline.open_run(directory), tuple(arch) if arch else None, beam, PROGRESS)
    rows = [
        (name, f"{s.bleu:.1f}", f"{s.chrf:.1f}", f"{s.loss:.3f}", f"{s.num_parameters:,}")
        for name, s in table.subnets.items()
    ]
    _show(table, as_json, _table(("subnet", "BLEU", "chrF", "loss", "parameters"), rows), "mosdeploy report")


@app.command()
def export(
    directory: DirOption = HERE,
    arch: Annotated[
        str, typer.Option(help="winner, largest, smallest, or a JSON file with an architecture.")
    ] = "winner",
    precision: Annotated[str | None, typer.Option(help="fp32 or int8; default: the workload's.")] = None,
    beam: Annotated[int | None, typer.Option(help="Beam size; default: the workload's.", min=1)] = None,
    as_json: JsonOption = False,
) -> None:
    """Build the bundle, after checking that it translates as the trained network does."""
    result = pipeline.export(pipeline.open_run(directory), arch, precision, beam, PROGRESS)
    parity = result.manifest.parity
    _show(
        result.manifest,
        as_json,
        f"bundle {result.path}: {result.size_bytes / 2**20:.1f} MiB, {result.manifest.precision}\n"
        f"parity: {parity.identical} of {parity.num_pairs} translations identical, "
        f"BLEU {parity.torch_bleu:.1f} in torch, {parity.bundle_bleu:.1f} in the bundle",
        "mosdeploy deploy",
    )


@app.command()
def deploy(
    directory: DirOption = HERE,
    device: DeviceOption = None,
    bundle: Annotated[Path | None, typer.Option(help="Bundle folder; default: the newest in bundles/.")] = None,
    ssh_config: SshOption = SSH_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Put the bundle on the device, run its self-test there, measure it there."""
    result = pipeline.deploy(pipeline.open_run(directory), device, bundle, ssh_config, PROGRESS)
    total = result.measurement.total
    timing = f"{total.median_ms:.2f} ms median, {total.p90_ms:.2f} ms p90" if total else "not timed"
    _show(
        result,
        as_json,
        f"{result.bundle} on {result.device.name}:{result.remote_dir}: self-test passed, {timing}"
        + _kept(total.median_ms if total else None, result.limit_ms),
        "mosdeploy report",
    )


@app.command()
def translate(
    text: Annotated[list[str] | None, typer.Argument(help="Sentences; without any, lines from stdin.")] = None,
    directory: DirOption = HERE,
    bundle: Annotated[Path | None, typer.Option(help="Bundle folder; default: the newest in bundles/.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads to use.", min=1)] = None,
) -> None:
    """Translate with a bundle on this machine."""
    try:
        stdin = io.TextIOWrapper(sys.stdin.buffer, "utf-8", newline="\n")
        lines = list(text) if text else [line.rstrip("\r\n") for line in stdin]
        "\n".join(lines).encode()  # an argument that was not UTF-8 holds surrogates
    except UnicodeError as error:
        raise ConfigError(f"the text to translate is not UTF-8: {error}") from error
    for line in pipeline.translate(directory, bundle, lines, threads):
        print(line)


@app.command()
def report(directory: DirOption = HERE) -> None:
    """Write the report: one offline HTML page and a JSON."""
    page = pipeline.report(pipeline.open_run(directory))
    _done(f"wrote {page} and {page.parent / 'report.json'}", None)


@app.command()
def demo(
    directory: Annotated[Path, typer.Option("--dir", "-C", help="Folder to walk in.")] = Path("demo"),
) -> None:
    """Walk the whole way on this machine with the embedded English-French corpus."""
    outcome = pipeline.demo(directory, PROGRESS)
    PROGRESS.close()
    print(_table(("what", "value"), outcome.rows))


# -- devices -------------------------------------------------------------------------------------------------------


@devices_app.command("list")
def devices_list(directory: DirOption = HERE) -> None:
    """List the known device profiles."""
    rows = [(x.name, x.kind, x.host or "-", x.description) for x in pipeline.list_devices(directory)]
    print(_table(("device", "kind", "host", "what"), rows))


@devices_app.command("show")
def devices_show(name: str, directory: DirOption = HERE) -> None:
    """Show one device profile."""
    print(pipeline.show_device(directory, name).model_dump_json(indent=2))


@devices_app.command("check")
def devices_check(
    name: str, directory: DirOption = HERE, ssh_config: SshOption = SSH_CONFIG, as_json: JsonOption = False
) -> None:
    """Look at a device: reachable, Python, runtime, CPU, memory, governor, temperature, disk."""
    checked = pipeline.check_device(directory, name, ssh_config)
    if as_json:
        print(checked.model_dump_json())
    else:
        rows = [(key, _plain(value)) for key, value in checked.state.model_dump().items() if value not in (None, ())]
        print(_table((name, ""), rows))
        for problem in checked.problems:
            print(f"{'missing' if problem.blocking else 'warning'}: {problem.what}\n    {problem.fix}")
    if any(problem.blocking for problem in checked.problems):
        raise typer.Exit(5)


@devices_app.command("setup")
def devices_setup(name: str, directory: DirOption = HERE, ssh_config: SshOption = SSH_CONFIG) -> None:
    """Make a virtual environment with the runtime on a device."""
    python = pipeline.setup_device(directory, name, ssh_config, PROGRESS)
    _done(f"{name}: runtime installed, {python}", f"mosdeploy devices check {name}")


# -- latencies of others -------------------------------------------------------------------------------------------


@latency_app.command("import")
def latency_import(
    file: Annotated[Path, typer.Argument(help="CSV file.")],
    device: Annotated[str, typer.Option(help="Device profile that the file is about, e.g. rpi.")],
    workload: Annotated[str, typer.Option(help="Name of the workload that the file is about, as in mosdeploy.toml.")],
    file_format: Annotated[str, typer.Option("--format", help="hat: as Hardware-Aware Transformers publish.")] = "hat",
    source: Annotated[str, typer.Option(help="Where the file is from, for the predictor's card.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the file, for the predictor's card.")] = "",
    directory: DirOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Fit a predictor on published latencies, without the blocks of rows that a throttled device spoilt."""
    card = pipeline.import_latency(pipeline.open_run(directory), file, file_format, device, workload, source, licence)
    lines = [
        f"left out rows {block.start}-{block.stop - 1}: {100 * (block.level - 1):+.0f}% against the rest"
        for block in card.left_out
    ]
    lines.append(f"{card.device}-{card.workload} ({card.runtime}): {_card_line(card)}")
    _show(card, as_json, "\n".join(lines), f"mosdeploy search --device {card.device} --max-latency 4s --no-verify")


# -- printing ------------------------------------------------------------------------------------------------------


def _done(message: str, next_command: str | None) -> None:
    PROGRESS.close()
    print(message)
    if next_command:
        print(f"next: {next_command}", file=sys.stderr)


def _show(record: "Record", as_json: bool, text: str, next_command: str) -> None:
    PROGRESS.close()
    if as_json:
        print(record.model_dump_json())
    else:
        _done(text, next_command)


def _card_line(card: "PredictorCard") -> str:
    return (
        f"{card.num_samples} subnets, error {card.mape_percent:.2f}%, {card.within_5_percent:.0f}% within 5%, "
        f"Kendall tau {card.kendall_tau:.3f}"
    )


def _until(result: "ProfileSummary") -> str:
    if result.until_error_percent is None:
        return ""
    limit = f"an error of {result.until_error_percent:g}% (over the subnets that the fit trusts)"
    return f"\n{limit} is reached" if result.error_met else f"\nthe budget is spent; {limit} is NOT reached"


def _transfer(card: "PredictorCard") -> str:
    trial = card.transfer
    if trial is None:
        return ""
    scratch = "too few subnets" if trial.scratch_percent is None else f"{trial.scratch_percent:.2f}%"
    used = f"corrected from {trial.source}" if trial.used else f"fitted from scratch, not from {trial.source}"
    return f"\n{used}: error {trial.error_percent:.2f}%, from scratch {scratch} (best nine tenths, held out)"


def _measured(measured_ms: float | None, limits: "Limits") -> str:
    if measured_ms is None:
        return "NOT measured (--no-verify): the limit is a prediction"
    return f"measured {measured_ms:.2f} ms on the device{_kept(measured_ms, limits.max_latency_ms)}"


def _kept(measured_ms: float | None, limit_ms: float | None) -> str:
    if measured_ms is None or limit_ms is None:
        return ""
    return f", limit {limit_ms:g} ms {'kept' if measured_ms <= limit_ms else 'NOT kept'}"


def _plain(value: Any) -> str:
    return " ".join(str(x) for x in value) if isinstance(value, tuple) else str(value)


def _table(header: tuple[str, ...], rows: Any) -> str:
    lines = [header, *rows]
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(header))]
    text = [
        "  ".join(str(cell).ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    ]
    return "\n".join([text[0], "  ".join("-" * width for width in widths), *text[1:]])


def _version(value: bool) -> None:
    if value:
        print(f"mosdeploy {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error (anywhere on the line).")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None: ...


def main() -> None:
    """Run the command line; errors become one line on stderr and their exit code."""
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    debug = "--debug" in sys.argv
    try:
        app([word for word in sys.argv[1:] if word != "--debug"])
    except MosdeployError as error:
        PROGRESS.close()
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # Typer turns Ctrl-C into this
            PROGRESS.close()
            print("interrupted; what was finished is kept, the same command resumes", file=sys.stderr)
        raise
