"""The verb `profile`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ..printable import EMULATED, milliseconds, three_digits
from .options import DeviceCommon, DeviceOption
from .printing import card_line, rescaled_lines

if TYPE_CHECKING:
    from ..run_folder.summaries import ProfileSummary


def profile(
    common: DeviceCommon,
    device: DeviceOption = None,
    budget: Annotated[
        int | None,
        typer.Option(
            help="Subnets to measure in all, those of earlier runs included.",
            min=4,
            show_default="[profile].budget",
        ),
    ] = None,
    until_error: Annotated[
        str | None,
        typer.Option(
            help="Stop once the predictor's error is at most this twice in a row: 2%. "
            "--budget bounds the measuring all the same.",
            show_default="measure --budget subnets",
        ),
    ] = None,
    hosts: Annotated[
        str | None,
        typer.Option(
            "--hosts",
            "--host",
            help="Boards of this kind to measure on at once, by alias in ssh_config: pi1,pi2,pi3.",
            show_default="host of the device profile",
        ),
    ] = None,
    renew: Annotated[
        bool,
        typer.Option(
            "--renew",
            help="Measure all again if it was measured under other conditions, or with too much "
            "noise; what was measured is kept in latency.old. The next search times its "
            "finalists again.",
        ),
    ] = False,
) -> None:
    """Measure a few well-chosen subnets on the device.

    A rerun measures only what is missing or failed. Exit code 6 if --until-error is not reached.
    """
    from ..config.units import parse_percent
    from ..errors import PredictorError
    from ..pipeline.profile import ProfileOptions, split_hosts
    from ..pipeline.profile import profile as measure
    from ..run_folder.status import next_command

    options = ProfileOptions(
        device=device,
        budget=budget,
        until_error_percent=parse_percent(until_error) if until_error is not None else None,
        hosts=split_hosts(hosts) if hosts is not None else (),
        renew=renew,
    )
    context = common.context()
    result = measure(context, options)
    command = result.further_command
    is_trusted = not (result.emulated or result.is_too_noisy)
    if command is None and is_trusted and result.fastest_ms:
        command = next_command(context)
    common.show(result, _text(result), command)
    if result.error_met is False:
        raise typer.Exit(PredictorError.exit_code)


def _text(result: "ProfileSummary") -> str:
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
