"""Verbs of the walk that end in a network or a page: init, train, finetune, search, evaluate,
report, demo.
"""

from pathlib import Path
from typing import Annotated

import typer

from .. import pipeline
from ..recipes import list_recipes
from .options import HERE, SSH_CONFIG, ArchOption, DeviceOption, DirOption, JsonOption, SshOption
from .printing import cost_table, demo_rows, measured, show, table
from .progress import PROGRESS


def init(
    directory: DirOption = HERE,
    recipe: Annotated[
        str, typer.Option(help="Template: " + ", ".join(list_recipes()) + ".")
    ] = "tiny",
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a commented mosdeploy.toml."""
    written = pipeline.init(directory, recipe, device)
    show(written, as_json, f"wrote {written.path}", "mosdeploy train")


def train(
    directory: DirOption = HERE,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Train nothing: print parameters, memory and the time of an update."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train the supernet; the same command resumes after a kill."""
    if dry_run:
        tried = pipeline.dry_run(pipeline.open_run(directory), PROGRESS)
        show(tried, as_json, cost_table(tried), "mosdeploy train")
        return
    card = pipeline.train(pipeline.open_run(directory), PROGRESS)
    show(
        card,
        as_json,
        f"supernet: {card.steps} updates, validation loss {card.largest_loss:.3f} (largest subnet), "
        f"{card.smallest_loss:.3f} (smallest)",
        "mosdeploy profile",
    )


def finetune(
    directory: DirOption = HERE,
    arch: ArchOption = "winner",
    steps: Annotated[
        int | None,
        typer.Option(
            help="Updates; default: [finetune].steps, from scratch the supernet's.", min=1
        ),
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option(help="Start from random weights, for comparison.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train one subnet alone, on from its inherited weights; the same command resumes after a kill."""
    card = pipeline.finetune(pipeline.open_run(directory), arch, steps, from_scratch, PROGRESS)
    weights = f" --weights {card.weights}" if from_scratch else ""
    show(
        card,
        as_json,
        f"{card.weights} {card.arch.key}: {card.steps} steps, validation loss {card.start_loss:.4f} to {card.loss:.4f}",
        "mosdeploy export" + (f" --arch {arch}" if arch != "winner" else "") + weights,
    )


def search(
    directory: DirOption = HERE,
    device: DeviceOption = None,
    max_latency: Annotated[
        str | None, typer.Option(help="Latency limit with its unit: 150ms, 3.5s.")
    ] = None,
    max_parameters: Annotated[
        str | None, typer.Option(help="Parameter limit: 4M, 3500000.")
    ] = None,
    max_size: Annotated[str | None, typer.Option(help="Bundle size limit: 12MiB.")] = None,
    verify: Annotated[bool, typer.Option(help="Measure the finalists on the device.")] = True,
    ssh_config: SshOption = SSH_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Find the best subnet within the limits and measure the finalists on the device."""
    from ..config.units import parse_count, parse_duration_ms
    from ..records import Limits

    limits = Limits(
        max_latency_ms=parse_duration_ms(max_latency) if max_latency is not None else None,
        max_parameters=parse_count(max_parameters) if max_parameters is not None else None,
        max_size_bytes=parse_count(max_size) if max_size is not None else None,
    )
    result = pipeline.search(
        pipeline.open_run(directory), device, limits, verify, ssh_config, PROGRESS
    )
    winner = result.winner
    lines = [
        f"winner {winner.arch.key}: {winner.arch}",
        f"  validation loss {winner.loss:.4f}, {winner.num_parameters:,} parameters",
    ]
    counts = f"  {result.num_evaluated:,} subnets evaluated"
    if result.num_early_stopped:
        counts += f", {result.num_early_stopped:,} of them only until they were clearly worse"
    if result.quality is not None:
        counts += (
            f", {result.num_predicted:,} predicted; the quality predictor's Kendall tau on subnets held out from it: "
            f"{result.quality.kendall_tau:.3f}"
        )
    lines.append(counts)
    if winner.predicted_ms is not None:
        lines.append(
            f"  predicted {winner.predicted_ms:.2f} ms, "
            + measured(winner.measured_ms, result.limits)
        )
    show(result, as_json, "\n".join(lines), "mosdeploy export")


def evaluate(
    directory: DirOption = HERE,
    arch: Annotated[
        list[str] | None,
        typer.Option(
            help="largest, smallest, winner, or a JSON file with an architecture; repeatable."
        ),
    ] = None,
    beam: Annotated[
        int | None, typer.Option(help="Beam size; default: the workload's.", min=1)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Translate the test set with inherited subnets: BLEU and chrF."""
    scores = pipeline.evaluate(
        pipeline.open_run(directory), tuple(arch) if arch else None, beam, PROGRESS
    )
    rows = [
        (name, f"{s.bleu:.1f}", f"{s.chrf:.1f}", f"{s.loss:.3f}", f"{s.num_parameters:,}")
        for name, s in scores.subnets.items()
    ]
    show(
        scores,
        as_json,
        table(("subnet", "BLEU", "chrF", "loss", "parameters"), rows),
        "mosdeploy report",
    )


def report(directory: DirOption = HERE, as_json: JsonOption = False) -> None:
    """Write the report: one offline HTML page and a JSON."""
    written = pipeline.report(pipeline.open_run(directory))
    show(
        written.report, as_json, f"wrote {written.page} and {written.page.with_name('report.json')}"
    )


def demo(
    directory: Annotated[Path, typer.Option("--dir", "-C", help="Folder to walk in.")] = Path(
        "demo"
    ),
    as_json: JsonOption = False,
) -> None:
    """Walk the whole way on this machine with the embedded English-French corpus."""
    outcome = pipeline.demo(directory, PROGRESS)
    show(outcome, as_json, table(("what", "value"), demo_rows(outcome)))
